// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/spf13/pflag"

	"octet/config"
	"octet/launcher/agent"
	"octet/launcher/gang"
	"octet/launcher/torchrun"
	"octet/launcher/workers"
)

// runRun is `octet run`: torchrun's command line, one agent on this host.
func runRun(ctx context.Context, args []string) error {
	flags, err := torchrun.Parse(args, os.Environ())
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Print("usage: octet run [flags] program [arguments]\n\n" +
			"The program is a command of octet (train), a Python script (*.py), or anything that can be executed.\n" +
			"Each flag's default may come from PET_<NAME>, as PET_NPROC_PER_NODE.\n\n" + flags.Usage())
		return nil
	}
	if err != nil {
		return usageError{fmt.Errorf("run: %w", err)}
	}
	opts, err := flags.Options(say)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	own, device, err := chooseProgram(flags, &opts)
	if errors.Is(err, config.ErrHelp) {
		return config.Help(os.Stdout)
	}
	if err != nil {
		return err
	}
	if err := flags.Bind(&opts, device); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if _, err := exec.LookPath(opts.Job.Argv[0]); err != nil {
		say(fmt.Sprintf("run: cannot start the program: %v", err))
		return exitCode(workers.ExitCode(err))
	}
	result, err := runRanks(ctx, flags, opts, own)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	for _, line := range result.Report {
		say(line)
	}
	if result.Code != 0 {
		return exitCode(result.Code)
	}
	return nil
}

// runRanks runs this host's ranks, of a program of octet's own or any other.
func runRanks(ctx context.Context, flags *torchrun.Flags, opts agent.Options, own bool) (result gang.Finish, err error) {
	// Until here a signal has ended this process, as it does any other.
	signals := make(chan os.Signal, 8)
	notify(signals, flags.Signals)
	defer signal.Stop(signals)
	opts.Signals = signals
	self, err := os.Executable()
	if err != nil {
		return result, err
	}
	if opts.Host, err = workers.NewHost([]string{self, "guard"}); err != nil {
		return result, err
	}
	defer opts.Host.Close()
	job := &opts.Job
	if job.Logs, err = flags.Logs(opts, opts.Host.Dir()); err != nil {
		return result, err
	}
	job.Stdin, job.Logs.Lost = os.Stdin, workers.NewLost(say)
	columns := 0
	job.Console, columns = newConsole(job.Logs.Lost)
	if own && columns > 0 { // a progress bar may be drawn; Console keeps it in place
		job.Environ = append(job.Environ, fmt.Sprintf("%s=%d", terminalVar, columns-job.Logs.MarkWidth(job.Role)))
	}
	if n := workers.Threads(job.Environ, opts.LocalWorldSize); n > 0 {
		say(fmt.Sprintf("OMP_NUM_THREADS=%d for each of the %d ranks of this host; set it to choose otherwise", n, opts.LocalWorldSize))
	}
	if result, err = agent.Run(ctx, opts); err != nil || result.Code != 0 {
		return result, err
	}
	if err := job.Logs.Lost.Err(); err != nil {
		return result, fmt.Errorf("the ranks have ended well, but not all of their output was written: %w", err)
	}
	return result, nil
}

// say tells the operator something, in one write.
func say(text string) { fmt.Fprintf(os.Stderr, "octet: %s\n", text) }
