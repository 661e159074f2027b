// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"regexp"
	"sync"

	"golang.org/x/sys/unix"

	"octet/launcher/gang"
)

// tail keeps the last lines of a rank's stderr, and the first ones of a crash of
// the Go runtime, whose reason stands above the stacks of all goroutines.
type tail struct {
	mu      sync.Mutex
	last    []string
	crash   []string // the lines from the last one on that looks like a crash
	crashed bool
}

const tailLines = 20

// goCrash is how the Go runtime begins its last words.
var goCrash = regexp.MustCompile(`^(panic: |fatal error: |SIG[A-Z]+: )`)

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if goCrash.MatchString(line) {
		t.crash, t.crashed = t.crash[:0], true
	}
	if t.crashed && len(t.crash) < tailLines {
		t.crash = append(t.crash, line)
	}
	if len(t.last) == tailLines {
		t.last = append(t.last[:0], t.last[1:]...)
	}
	t.last = append(t.last, line)
}

// goExitCode is what the Go runtime exits with after a panic or a fatal signal.
const goExitCode = 2

// goSignal finds the signal in the first lines of a crash: "SIGSEGV: segmentation
// violation", or "fatal error: unexpected signal …" and below it "[signal SIGSEGV: …".
var goSignal = regexp.MustCompile(`^(?:fatal error: unexpected signal[^\n]*\n\[signal )?(SIG[A-Z]+): `)

// explain adds what the rank's stderr says about its end to e: the lines to show
// and, for a program in Go that left no error file, the signal or the panic.
func (t *tail) explain(e *gang.Exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Tail = append([]string(nil), t.last...)
	if e.Code != goExitCode || !t.crashed {
		return
	}
	e.Tail = append([]string(nil), t.crash...)
	head := t.crash[0]
	if len(t.crash) > 1 {
		head += "\n" + t.crash[1]
	}
	if m := goSignal.FindStringSubmatch(head); m != nil {
		if s := unix.SignalNum(m[1]); s != 0 {
			e.Code, e.Signal = 0, s
			return
		}
	}
	if e.Message == "" {
		e.Message = t.crash[0]
	}
}
