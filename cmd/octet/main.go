// SPDX-License-Identifier: Apache-2.0

// Command octet trains Llama models in float8 on many ranks. One binary does it
// all; `octet` alone lists its commands, and `octet run` starts any of them, or
// any other program, on many ranks with torchrun's flags:
//
//	octet train --config configs/debugmodel.toml
//	octet run --nproc-per-node 2 train --config configs/debugmodel.toml
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"octet/launcher"
)

func main() { os.Exit(octet(os.Args[1:])) }

// octet runs a subcommand and returns the exit code.
func octet(args []string) int {
	flags := pflag.NewFlagSet("octet", pflag.ContinueOnError)
	flags.SetInterspersed(false) // what follows a command belongs to it
	flags.Usage = func() {}
	version := flags.Bool("version", false, "")
	err := flags.Parse(args)
	if err == nil {
		args = flags.Args()
	}
	switch {
	case *version:
		args = []string{"version"}
	case errors.Is(err, pflag.ErrHelp) || len(args) == 0 || args[0] == "help" && len(args) != 2:
		usage(os.Stdout)
		return 0
	case args[0] == "help":
		args = []string{args[1], "--help"}
	}
	c := lookup(args[0])
	if c == nil {
		fmt.Fprintf(os.Stderr, "octet: unknown command %q\n", args[0])
		usage(os.Stderr)
		return 2
	}
	limitIsAnError()
	return report(c, c.run(context.Background(), args[1:]))
}

// report tells of a command's error, also the launcher, and returns the exit code.
func report(c *command, err error) int {
	if err == nil {
		return 0
	}
	if silent, ok := errors.AsType[exitCode](err); ok {
		return int(silent)
	}
	_, unread := errors.AsType[usageError](err)
	if unread {
		fmt.Fprintf(os.Stderr, "usage: octet %s [flags] …; octet %s --help lists them\n", c.name, c.name)
	}
	fmt.Fprintf(os.Stderr, "octet: %v\n", err)
	if e := launcher.WriteErrorFile(err); e != nil {
		fmt.Fprintf(os.Stderr, "octet: %v\n", e)
	}
	if unread {
		return 2
	}
	return 1
}

// exitCode is an error that has been reported already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that cannot be read: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
