// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
)

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
