// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"octet/launcher"
	"octet/launcher/workers"
)

// terminalVar tells octet's own ranks that the console is a terminal, and how many
// columns a line of rank 0 has there.
const terminalVar = "OCTET_TERMINAL"

// newConsole returns the console of the ranks, and its columns if it is a terminal.
func newConsole(lost *workers.Lost) (*workers.Console, int) {
	if !term.IsTerminal(int(os.Stdout.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return workers.NewConsole(os.Stdout, os.Stderr, nil, lost), 0
	}
	width := func() int {
		w, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil || w == 0 { // a terminal that does not tell
			return 80
		}
		return w
	}
	return workers.NewConsole(os.Stdout, os.Stderr, width, lost), width()
}

// limitIsAnError makes a file that would grow beyond the process's limit an error
// of the write, as on a full disk, where it would be the end of the process.
func limitIsAnError() { signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ) }

// notify relays signals but those that were ignored when the process began, as
// nohup has SIGHUP ignored: they stay so, in ranks as well. (Of SIGHUP and SIGINT
// alone Go knows that.)
func notify(to chan<- os.Signal, signals []os.Signal) {
	if signals = slices.DeleteFunc(slices.Clone(signals), signal.Ignored); len(signals) > 0 { // of none it would relay all
		signal.Notify(to, signals...)
	}
}

// stopSignal gives a rank that saves checkpoints the time to: stop is closed by the first signal that ends a job, and
// from then on the launcher hears that the rank still saves, until nothing has happened (alive) for patience. A second signal ends the
// process, as any does that is not handled.
func stopSignal(place launcher.Place, patience time.Duration) (stop <-chan struct{}, alive func()) {
	var last atomic.Int64 // when something has happened, in nanoseconds
	alive = func() { last.Store(time.Now().UnixNano()) }
	alive()
	signals, stopped := make(chan os.Signal, 1), make(chan struct{})
	handled := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	for name := range strings.SplitSeq(os.Getenv(workers.SignalsVar), ",") { // what the launcher passes on, a scheduler's warning among it
		if s := unix.SignalNum(name); s != 0 && s != syscall.SIGQUIT {
			handled = append(handled, s)
		}
	}
	notify(signals, handled)
	go func() {
		<-signals
		signal.Reset(handled...)
		close(stopped)
		for time.Since(time.Unix(0, last.Load())) < patience {
			if err := launcher.Saving(place); err != nil {
				say(fmt.Sprintf("the launcher cannot be told that this rank saves: %v", err))
				return
			}
			time.Sleep(time.Second)
		}
	}()
	return stopped, alive
}
