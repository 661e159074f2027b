// SPDX-License-Identifier: Apache-2.0

// Package workers runs the ranks of one host as processes, which torchrun calls
// workers: it gives them torchrun's environment, marks and files their output, tells
// how each of them ended, and sees to it that nothing of them is left, their children
// included, even if the launcher itself is killed.
//
// How nothing is left: each rank leads a session and process group of its own,
// and signals go to the group. The kernel kills a rank whose launcher dies
// (parent-death signal). Children that left the group are found because the
// launcher is the subreaper of all its descendants, and if the launcher is
// killed, by the guard, a small process that outlives it for a moment.
package workers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"octet/internal/auth"
	"octet/launcher"
	"octet/launcher/gang"
)

// Job is what every attempt to run the ranks has in common.
type Job struct {
	Argv        []string // program and arguments; ${local_rank} in them is replaced
	Environ     []string // the launcher's own, which ranks inherit
	RunID       string
	Role        string
	MaxRestarts int
	Secret      auth.Secret // of the ranks
	LocalAddr   string      // --local-addr; empty: not given
	Signals     string      // the list of --signals-to-handle, for the ranks to read
	Stdin       *os.File    // the launcher's, which ranks share, as torchrun's do; nil: none
	CPUs        [][]int     // of each local rank, which stays on them; nil: on all

	Store      string // address of the store of octet's ranks; empty: theirs is PyTorch's
	MasterAddr string // and of PyTorch's
	MasterPort int

	// Linger is how long processes may go on that the ranks have left when all of
	// them have exited 0.
	Linger  time.Duration
	Console *Console
	Logs    Logs
}

// Host starts processes. It lives as long as the launcher.
type Host struct {
	starts chan func()
	dir    *runDir
	guard  *guard
	wg     sync.WaitGroup
	vmstat string // the kernel's counters
}

// NewHost prepares this process to start ranks. guard is the command that runs
// Guard in a process of its own.
func NewHost(guard []string) (*Host, error) {
	if err := becomeSubreaper(); err != nil {
		return nil, fmt.Errorf("launcher: become subreaper: %w", err)
	}
	sweep()
	dir, err := newRunDir()
	if err != nil {
		return nil, fmt.Errorf("launcher: folder of this run: %w", err)
	}
	h := &Host{starts: make(chan func()), dir: dir, vmstat: "/proc/vmstat"}
	// The parent-death signal is sent when the thread that started the process
	// ends. This one lives until Close.
	h.wg.Go(func() {
		runtime.LockOSThread()
		for f := range h.starts {
			f()
		}
	})
	if h.guard, err = startGuard(guard, dir.path); err != nil {
		h.Close()
		return nil, fmt.Errorf("launcher: start guard: %w", err)
	}
	return h, nil
}

// Close releases what NewHost made. All groups must be done.
func (h *Host) Close() {
	if h.guard != nil {
		h.guard.close()
	}
	h.dir.close()
	close(h.starts)
	h.wg.Wait()
}

// Dir is a folder for files of this run, which goes with the host.
func (h *Host) Dir() string { return h.dir.path }

// start runs cmd.Start on the host's thread, for a process that stays on cpus; nil: anywhere.
func (h *Host) start(cmd *exec.Cmd, cpus []int) error {
	err := make(chan error)
	h.starts <- func() { err <- onCPUs(cpus, cmd.Start) }
	return <-err
}

// Start starts this host's ranks of an attempt. On an error none is left running.
func (h *Host) Start(job Job, w gang.World) (*Group, error) {
	g := &Group{host: h, linger: job.Linger, exits: make(chan gang.Exit, w.LocalWorldSize), done: make(chan struct{}), stops: make(chan stop, 8), saving: make(chan struct{}, 1), oomKills: oomKills(h.vmstat)}
	files, err := job.Logs.open(w.Attempt)
	if err != nil {
		return nil, err
	}
	g.files = files
	for local := range w.LocalWorldSize {
		wk, err := g.startWorker(job, w, local)
		if err != nil {
			g.run()
			g.Stop(sigKILL, 0, false)
			<-g.done
			return nil, fmt.Errorf("start local rank %d: %w", local, err)
		}
		g.workers = append(g.workers, wk)
	}
	g.run()
	return g, nil
}

// ExitCode is what a shell would exit with if it could not start a program: 127
// where there is none, else 126.
func ExitCode(err error) int {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return 127
	}
	return 126
}

// startWorker starts one rank with pipes for its output.
func (g *Group) startWorker(job Job, w gang.World, local int) (*worker, error) {
	wk := &worker{rank: w.FirstRank + local, localRank: local, tail: &tail{}}
	wk.errorFile = job.Logs.errorFile(w.Attempt, local)
	sinks, err := job.Logs.sinks(g.files, w.Attempt, prefixNames{job.Role, local, wk.rank}, job.Console)
	if err != nil {
		return nil, err
	}
	sinks[1].tail = wk.tail
	ours, theirs, err := newPipes()
	if err != nil {
		return nil, errors.Join(err, sinks[0].close(), sinks[1].close())
	}
	wk.pipes = ours
	for i, r := range ours {
		wk.output.Go(func() { sinks[i].copy(r) })
	}
	cmd := exec.Command(job.Argv[0])
	cmd.Args = expand(job.Argv, local)
	cmd.Env = append(env(job, w, local), launcher.RunDirVar+"="+g.host.Dir())
	cmd.Stdout, cmd.Stderr = theirs[0], theirs[1]
	if job.Stdin != nil {
		cmd.Stdin = job.Stdin
	}
	cmd.SysProcAttr = workerAttr()
	var cpus []int
	if job.CPUs != nil {
		cpus = job.CPUs[local]
	}
	err = g.host.start(cmd, cpus)
	for _, f := range theirs { // the rank has its own
		f.Close()
	}
	if err != nil {
		wk.output.Wait()
		return nil, err
	}
	wk.proc = cmd.Process
	g.host.guard.add(wk.proc.Pid)
	return wk, nil
}

// newPipes returns the ends of two pipes, for stdout and stderr.
func newPipes() (read, write [2]*os.File, err error) {
	for i := range read {
		if read[i], write[i], err = os.Pipe(); err != nil {
			for j := range i {
				read[j].Close()
				write[j].Close()
			}
			return read, write, err
		}
	}
	return read, write, nil
}
