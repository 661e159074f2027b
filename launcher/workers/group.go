// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"octet/launcher"
	"octet/launcher/gang"
)

// Group is the ranks of one attempt on this host. Make it with Host.Start.
type Group struct {
	host    *Host
	linger  time.Duration
	workers []*worker
	files   *logFiles
	exits   chan gang.Exit
	done    chan struct{}
	stops   chan stop
	saving  chan struct{}

	oomKills int // before the ranks were started
}

type stop struct {
	signal syscall.Signal
	grace  time.Duration
	saves  bool
}

type worker struct {
	rank, localRank int
	proc            *os.Process
	errorFile       string
	pipes           [2]*os.File    // our ends
	output          sync.WaitGroup // the goroutines that read them
	tail            *tail

	mu     sync.Mutex
	exited bool
	killed time.Time // of the first stop; zero: none
	frozen bool
}

// drainTime bounds how long output is read after a rank has ended: its children
// may hold the pipes open.
const drainTime = 100 * time.Millisecond

// Exits delivers one Exit for each rank, as they end, and is then closed.
func (g *Group) Exits() <-chan gang.Exit { return g.exits }

// Done is closed when no process of the group is left and all output is written.
func (g *Group) Done() <-chan struct{} { return g.done }

// Saving delivers now and then while ranks that were told to stop still save, beyond the grace that they
// had.
func (g *Group) Saving() <-chan struct{} { return g.saving }

// Stop sends sig to every rank and its children, and SIGKILL after grace. It
// returns at once; see Done. Where maySave is set, no rank is killed while one says that it saves
// (launcher.Saving). A later Stop may shorten the grace.
func (g *Group) Stop(sig syscall.Signal, grace time.Duration, maySave bool) {
	select {
	case g.stops <- stop{sig, grace, maySave}:
	case <-g.done:
	}
}

// run waits for the ranks in the background.
func (g *Group) run() {
	var ranks sync.WaitGroup
	var failed atomic.Bool
	for _, w := range g.workers {
		ranks.Go(func() {
			e := w.wait()
			if e.Signal == sigKILL && !e.Killed && oomKills(g.host.vmstat) > g.oomKills {
				e.Message = outOfMemory
			}
			if e.Code != 0 || e.Signal != 0 || e.Killed {
				failed.Store(true)
			}
			g.host.guard.remove(e.PID)
			g.exits <- e
		})
	}
	ended := make(chan struct{})
	go func() {
		ranks.Wait()
		close(g.exits)
		close(ended)
	}()
	go func() {
		if stopped := g.supervise(ended); !stopped && !failed.Load() {
			g.letFinish()
		}
		killDescendants(g.host.guard.pid(), true)
		for _, w := range g.workers {
			w.closeOutput()
		}
		g.files.close()
		close(g.done)
	}()
}

// supervise performs stops until every rank has ended, and reports whether there
// was one: it may come when the last rank has just ended.
func (g *Group) supervise(ended <-chan struct{}) (stopped bool) {
	var kill <-chan time.Time
	var maySave bool
	for {
		select {
		case <-ended:
			return stopped
		case s := <-g.stops:
			stopped = true
			for _, w := range g.workers {
				w.stop(s.signal)
			}
			kill, maySave = time.After(s.grace), s.saves
		case <-kill:
			if maySave && g.saves() {
				kill = time.After(savingEvery)
				select {
				case g.saving <- struct{}{}:
				default: // nobody has asked since the last
				}
				continue
			}
			for _, w := range g.workers {
				w.stop(sigKILL)
			}
			// Children that hold up a rank, or that it waits for, go as well.
			killDescendants(g.host.guard.pid(), false)
		}
	}
}

// savingEvery is how often ranks that save are looked at, which they say every second.
const savingEvery = time.Second

// saves reports whether a rank that still runs has said that it saves, in the last few seconds.
func (g *Group) saves() bool {
	for _, w := range g.workers {
		w.mu.Lock()
		exited := w.exited
		w.mu.Unlock()
		info, err := os.Stat(launcher.SavingFile(g.host.Dir(), w.localRank))
		if !exited && err == nil && time.Since(info.ModTime()) < 5*savingEvery {
			return true
		}
	}
	return false
}

// letFinish gives processes that outlive ranks which exited 0 (an upload, a last write)
// the time to end by themselves, until a Stop.
func (g *Group) letFinish() {
	end := time.After(g.linger)
	pause := time.Millisecond
	for len(living(g.host.guard.pid(), true)) > 0 {
		select {
		case <-end:
			return
		case <-g.stops:
			return
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		}
	}
}

// wait returns when the rank's process has ended and its output was read.
func (w *worker) wait() gang.Exit {
	waitForEnd(w.proc.Pid)
	at := time.Now()
	w.mu.Lock() // until here the pid is a zombie's, so stop signals nobody else
	state, err := w.proc.Wait()
	w.exited = true
	e := gang.Exit{Rank: w.rank, LocalRank: w.localRank, PID: w.proc.Pid, At: at, Killed: !w.killed.IsZero(), Frozen: w.frozen}
	w.mu.Unlock()
	if err != nil {
		e.Code = 1
	} else if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		e.Signal = status.Signal()
	} else {
		e.Code = status.ExitStatus()
	}
	w.drain()
	if e.Code != 0 || e.Signal != 0 {
		left := launcher.ReadErrorFile(w.errorFile)
		e.Message, e.Victim = left.Message, left.Victim
		w.tail.explain(&e)
		date(&e, left.At, w.killed)
	}
	return e
}

// date takes the time of the failure from the error file, if one was written. A rank
// that had written it before it was told to stop had failed by itself and was only
// slow to end: it counts as ended by its own failure, with the code of one.
func date(e *gang.Exit, written, killed time.Time) {
	if written.IsZero() {
		return
	}
	// A file system dates by a clock that may be late; no cause may seem to
	// come before what it followed.
	if at := written.Add(fileClockLag()); at.Before(e.At) {
		e.At = at
	}
	if e.Killed && e.At.Before(killed) {
		e.Killed, e.Frozen = false, false
		e.Code, e.Signal = max(e.Code, 1), 0
	}
}

// stop signals the rank's process group. A rank that has ended by itself, even if
// nobody has noticed yet, does not count as killed.
func (w *worker) stop(sig syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exited {
		return
	}
	if w.killed.IsZero() {
		state := processState(w.proc.Pid)
		if state != 'Z' {
			w.killed = time.Now()
		}
		w.frozen = state == 'T'
	}
	_ = syscall.Kill(-w.proc.Pid, sig)
	_ = syscall.Kill(-w.proc.Pid, syscall.SIGCONT) // a stopped process handles no signal
}

// drain waits for drainTime, or less, until all output is read.
func (w *worker) drain() {
	read := make(chan struct{})
	go func() { // ends with closeOutput
		w.output.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(drainTime):
	}
}

// closeOutput ends the reading of output that outlived the rank.
func (w *worker) closeOutput() {
	w.drain()
	for _, p := range w.pipes {
		p.Close()
	}
	w.output.Wait()
}
