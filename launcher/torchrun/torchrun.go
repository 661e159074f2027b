// SPDX-License-Identifier: Apache-2.0

// Package torchrun is torchrun's command line: its flags with their abbreviations,
// environment variables and defaults, and where the hosts of a job meet (rendezvous).
// It reads and checks; package agent runs what comes out. What torchrun has and octet
// has not is refused by name.
package torchrun

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"octet/internal/auth"
	"octet/launcher/workers"
)

// Parse reads a command line: flags up to the first word that is none, the program
// and its arguments. What it does not say it takes from environ: PET_<FLAG>, as
// torchrun does. The error of --help is pflag.ErrHelp; any other names the flag. The
// Flags are never nil, so that Usage can be asked for.
func Parse(args, environ []string) (*Flags, error) {
	env := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	f := newFlags(cmp.Or(env["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"], workers.DefaultPrefix))
	f.token, f.python = env[auth.TokenVar], env["PYTHON_EXEC"]
	var bad error
	fromEnv := func(flag *pflag.Flag, name string) {
		if v, ok := env[name]; ok && bad == nil {
			if err := f.set.Set(flag.Name, v); err != nil {
				bad = fmt.Errorf("%s=%q: %w", name, v, err)
			}
		}
	}
	fromEnv(f.set.Lookup("shutdown-timeout"), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT")
	f.set.VisitAll(func(flag *pflag.Flag) {
		fromEnv(flag, "PET_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")))
	})
	if err := f.set.Parse(args); err != nil {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			if found := begun(f.set, unknown.GetSpecifiedName()); len(found) > 1 {
				return f, fmt.Errorf("--%s could be --%s", unknown.GetSpecifiedName(), strings.Join(found, " or --"))
			}
		}
		return f, err
	}
	if bad != nil {
		return f, bad
	}
	for _, r := range refused {
		if flag := f.set.Lookup(r.name); flag.Changed && flag.Value.String() != r.def {
			return f, fmt.Errorf("--%s is not supported: %s", r.name, r.why)
		}
	}
	if f.Argv = f.set.Args(); len(f.Argv) == 0 {
		return f, fmt.Errorf("no program given")
	}
	return f, f.lists()
}

// Usage lists the flags.
func (f *Flags) Usage() string { return f.set.FlagUsages() }

// lists reads the flags that are lists.
func (f *Flags) lists() (err error) {
	if f.redirects, err = workers.ParseStreams(f.redirectsText); err != nil {
		return fmt.Errorf("--redirects %w", err)
	}
	if f.tee, err = workers.ParseStreams(f.teeText); err != nil {
		return fmt.Errorf("--tee %w", err)
	}
	if f.ranksFilterText != "" {
		f.ranksFilter = map[int]bool{}
		for part := range strings.SplitSeq(f.ranksFilterText, ",") {
			rank, err := strconv.Atoi(strings.TrimSpace(part))
			if err != nil || rank < 0 {
				return fmt.Errorf("--local-ranks-filter %q: want local ranks, as 0,1", f.ranksFilterText)
			}
			f.ranksFilter[rank] = true
		}
	}
	f.stdoutFilters, f.stderrFilters = words(f.stdoutWords), words(f.stderrWords)
	if f.Signals, err = parseSignals(f.signalsToHandle); err != nil {
		return err
	}
	if f.Module && f.NoPython {
		return fmt.Errorf("--module and --no-python exclude each other")
	}
	return nil
}

// words splits a list at commas; two commas are one in a word.
func words(text string) []string {
	if text == "" {
		return nil
	}
	const comma = "\x00"
	var out []string
	for w := range strings.SplitSeq(strings.ReplaceAll(text, ",,", comma), ",") {
		out = append(out, strings.ReplaceAll(w, comma, ","))
	}
	return out
}

func parseSignals(text string) ([]os.Signal, error) {
	var out []os.Signal
	for name := range strings.SplitSeq(text, ",") {
		found := unix.SignalNum(strings.TrimSpace(name))
		if found == 0 || found == syscall.SIGKILL || found == syscall.SIGSTOP {
			return nil, fmt.Errorf("--signals-to-handle %q: %q is not a signal that can be handled", text, name)
		}
		out = append(out, found)
	}
	return out, nil
}
