// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"octet/backend"
)

// runDoctor is `octet doctor`: what a run on GPUs would find, and what was tried to find it.
func runDoctor(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet doctor", pflag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(os.Stdout, "usage: octet doctor") }
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{err}
	}
	if flags.NArg() > 0 {
		return usageError{errors.New("octet doctor takes no arguments")}
	}
	backend.Inspect(os.Stdout)
	return nil
}
