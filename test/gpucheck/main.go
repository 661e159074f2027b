// SPDX-License-Identifier: Apache-2.0

// Command gpucheck proves octet on a GPU: on a host that has a driver and perhaps Python with
// PyTorch, but neither Go nor a network. What it needs beside is in a bundle, which is made
// elsewhere:
//
//	go run ./test/gpucheck bundle -o out/gpucheck.tar.gz   # make gpu-bundle: where Go is
//	tar xzf gpucheck.tar.gz && gpucheck/check.sh --out DIR # on the GPU host, in under ten minutes
//
// Each check has a name, a limit of time and a verdict; one that fails stops no other. DIR
// gets result.json, gpu.md, which is the record for docs/gpu.md, and log.txt, all of them
// written anew after each check.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	err := program(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpucheck:", err)
		os.Exit(2)
	}
}

func program(args []string) error {
	if len(args) > 0 && args[0] == "bundle" {
		return bundleProgram(args[1:])
	}
	flags := pflag.NewFlagSet("gpucheck", pflag.ContinueOnError)
	h := host{}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	flags.StringVar(&h.bundle, "bundle", filepath.Dir(filepath.Dir(executable)), "folder of the unpacked bundle")
	flags.StringVar(&h.out, "out", "gpucheck-out", "folder for result.json, gpu.md and log.txt")
	flags.BoolVar(&h.short, "short", false, "small sizes and few steps: to try the checks, not the GPU")
	only := flags.StringSlice("only", nil, "checks by name, separated by commas (default: all)")
	budget := flags.Duration("budget", 9*time.Minute+30*time.Second, "for all checks together; those that it does not reach are skipped")
	patience := flags.Float64("patience", 1, "what every limit of time is multiplied by")
	list := flags.Bool("list", false, "only list the checks")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, c := range checks() {
			fmt.Printf("%-24s %4.0f s  %s\n", c.name, c.limit.Seconds(), c.about)
		}
		return nil
	}
	chosen, err := choose(checks(), *only)
	if err != nil {
		return err
	}
	for i := range chosen {
		chosen[i].limit = time.Duration(*patience * float64(chosen[i].limit))
	}
	for _, p := range []*string{&h.bundle, &h.out} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(h.out, 0o755); err != nil {
		return err
	}
	h.deadline = time.Now().Add(*budget)
	record, err := h.run(chosen)
	if err != nil {
		return err
	}
	fmt.Print(record.table())
	return nil
}

// choose finds checks by name; the inventory is always among them.
func choose(all []check, names []string) (chosen []check, err error) {
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	for _, c := range all {
		if len(names) == 0 || wanted[c.name] || c.name == inventory {
			chosen = append(chosen, c)
		}
		delete(wanted, c.name)
	}
	for n := range wanted {
		var known []string
		for _, c := range all {
			known = append(known, c.name)
		}
		return nil, fmt.Errorf("--only: there is no check %q; there are: %s", n, strings.Join(known, ", "))
	}
	return chosen, nil
}
