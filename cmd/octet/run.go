// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"octet/config"
	"octet/launcher/agent"
	"octet/launcher/exec"
	"octet/launcher/gang"
)

// terminalVar tells octet's own ranks that the console is a terminal, and how many
// columns a line of rank 0 has there.
const terminalVar = "OCTET_TERMINAL"

// runRun is `octet run`: torchrun's command line, one agent on this host.
func runRun(ctx context.Context, args []string) error {
	f, argv, err := parseRun(args, os.Environ())
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Print(f.usage())
		return nil
	}
	if err != nil {
		return usageError{fmt.Errorf("run: %w", err)}
	}
	opts, err := f.options()
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	world := opts.Slots
	if opts.Nodes > 1 { // each with as many ranks as it wants
		world = config.AnyWorld
	}
	program, own, err := f.program(argv, world, opts.Slots)
	if errors.Is(err, config.ErrHelp) {
		return config.Help(os.Stdout)
	}
	if err != nil {
		return err
	}
	if _, err := osexec.LookPath(program[0]); err != nil {
		say(fmt.Sprintf("run: cannot start the program: %v", err))
		return exitCode(exec.ExitCode(err))
	}
	signals, err := f.handle()
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	defer signal.Stop(signals)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	host, err := exec.NewHost([]string{self, "guard"})
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	defer host.Close()
	logs, err := f.logs(opts.RunID, host.Dir())
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	logs.Lost = exec.NewLost(say)
	console, columns := newConsole(logs.Lost)
	opts.Host, opts.Signals, opts.Say = host, signals, say
	opts.Job = exec.Job{
		Argv: program, Environ: os.Environ(), RunID: opts.RunID, Secret: opts.RankSecret(), Role: f.role, MaxRestarts: f.maxRestarts, LocalAddr: f.localAddr,
		Signals: f.signals, Linger: opts.ShutdownTimeout, Stdin: os.Stdin, Console: console, Logs: logs,
	}
	opts.Asked = f.asked(opts, argv, own)
	if own != nil {
		opts.Check = own.check
		opts.Store = agent.NoStore // octet's ranks have one that knows them
		opts.Job.Environ = append(opts.Job.Environ, own.environ...)
		if columns > 0 { // a progress bar may be drawn; Console keeps it in place
			opts.Job.Environ = append(opts.Job.Environ, fmt.Sprintf("%s=%d", terminalVar, columns-logs.MarkWidth(f.role)))
		}
	}
	if n := exec.Threads(opts.Job.Environ, opts.Slots); n > 0 {
		say(fmt.Sprintf("OMP_NUM_THREADS=%d for each of the %d ranks of this host; set it to choose otherwise", n, opts.Slots))
	}
	result, err := agent.Run(ctx, opts)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	for _, line := range result.Report {
		say(line)
	}
	if result.Code != 0 {
		return exitCode(result.Code)
	}
	if err := logs.Lost.Err(); err != nil {
		return fmt.Errorf("run: the ranks have ended well, but not all of their output was written: %w", err)
	}
	return nil
}

// asked is what all hosts have to be started with alike, so that what the launcher
// can see is found before a rank starts. Of octet's own program that is what it
// makes of its command line: two hosts may have their files in other places.
func (f *runFlags) asked(o agent.Options, argv []string, own *prepared) []gang.Asked {
	asked := []gang.Asked{
		{Key: "the version", Value: version()},
		{Key: "--nnodes", Value: strconv.Itoa(o.Nodes)},
		{Key: "--max-restarts", Value: strconv.Itoa(o.MaxRestarts)},
		{Key: "--role", Value: f.role},
		{Key: "a host is lost after", Value: o.BeatTimeout.String()},
		{Key: "the program", Value: argv[0]},
	}
	if own == nil || own.asked == nil {
		return append(asked, gang.Asked{Key: "the command line", Value: strings.Join(argv, " ")})
	}
	for _, key := range slices.Sorted(maps.Keys(own.asked)) {
		asked = append(asked, gang.Asked{Key: key, Value: own.asked[key]})
	}
	return asked
}

// handle returns the operator's signals. Before it, a signal ends this process, as
// it does any other: nothing has begun.
func (f *runFlags) handle() (chan os.Signal, error) {
	handled, err := parseSignals(f.signals)
	if err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 8)
	notify(signals, handled)
	return signals, nil
}

// say tells the operator something, in one write.
func say(text string) { fmt.Fprintf(os.Stderr, "octet: %s\n", text) }

// newConsole returns the console of the ranks, and its columns if it is a terminal.
func newConsole(lost *exec.Lost) (*exec.Console, int) {
	if !term.IsTerminal(int(os.Stdout.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return exec.NewConsole(os.Stdout, os.Stderr, nil, lost), 0
	}
	width := func() int {
		w, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil || w == 0 { // a terminal that does not tell
			return 80
		}
		return w
	}
	return exec.NewConsole(os.Stdout, os.Stderr, width, lost), width()
}

// program is the command line of a rank: a subcommand of octet, which is then
// prepared for its ranks, a Python script or module, or any program.
func (f *runFlags) program(argv []string, world, local int) (program []string, own *prepared, err error) {
	if c := lookup(argv[0]); c != nil && c.help != "" && !f.noPython && !f.module {
		own = &prepared{}
		if c.prepare != nil {
			if *own, err = c.prepare(argv[1:], world, local); err != nil {
				return nil, nil, err
			}
		}
		self, err := os.Executable()
		return append([]string{self}, argv...), own, err
	}
	python := os.Getenv("PYTHON_EXEC")
	if python == "" {
		python = "python3"
	}
	switch {
	case f.module:
		return append([]string{python, "-u", "-m"}, argv...), nil, nil
	case strings.HasSuffix(argv[0], ".py") && !f.noPython:
		if _, err := os.Stat(argv[0]); err != nil {
			return nil, nil, fmt.Errorf("run: script: %w", err)
		}
		return append([]string{python, "-u"}, argv...), nil, nil
	}
	return argv, nil, nil
}

// logs says where the output of the ranks goes. Without --log-dir, their error
// files go to scratch, a folder of this run, and logs into one that stays.
func (f *runFlags) logs(runID, scratch string) (logs exec.Logs, err error) {
	logs = exec.Logs{Prefix: f.linePrefix, ConsoleFilter: f.ranksFilter, StdoutFilters: f.stdoutFilters, StderrFilters: f.stderrFilters,
		Redirects: f.redirects, Tee: f.tee}
	if logs.Hostname, err = os.Hostname(); err != nil {
		return logs, err
	}
	files := f.redirects.Any() || f.tee.Any() || len(f.stdoutFilters)+len(f.stderrFilters) > 0
	name := strings.ReplaceAll(runID, string(filepath.Separator), "_") + "_*"
	switch {
	case f.logDir == os.DevNull:
		if files {
			return logs, fmt.Errorf("--log-dir %s leaves no place for --redirects, --tee and the --duplicate-…-filters", os.DevNull)
		}
		return logs, nil
	case f.logDir == "" && !files:
		logs.Dir = scratch
		return logs, nil
	case f.logDir == "":
		if logs.Dir, err = os.MkdirTemp("", "octet_"+name); err == nil {
			say("logs of the ranks are in " + logs.Dir)
		}
		return logs, err
	}
	if !f.redirects.Any() && !f.tee.Any() { // who asks for a directory wants the output in it
		logs.Tee = exec.Streams{All: exec.Stdout | exec.Stderr}
	}
	dir, err := filepath.Abs(f.logDir)
	if err != nil {
		return logs, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return logs, fmt.Errorf("--log-dir: %w", err)
	}
	logs.Dir, err = os.MkdirTemp(dir, name)
	return logs, err
}
