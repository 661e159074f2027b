// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const sigKILL = syscall.SIGKILL

// workerAttr gives a rank a session and process group of its own, and its death
// if the thread that starts it ends.
func workerAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// becomeSubreaper makes orphans among our descendants our children.
func becomeSubreaper() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// waitForEnd returns when the child has ended, and leaves it to be waited for.
func waitForEnd(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// coarseTick is the resolution of the clock that dates files.
func coarseTick() time.Duration {
	var ts unix.Timespec
	if unix.ClockGetres(unix.CLOCK_REALTIME_COARSE, &ts) != nil {
		return 10 * time.Millisecond // the slowest tick of usual kernels
	}
	return time.Duration(ts.Nano())
}

// process is a line of /proc.
type process struct {
	pid, parent, session int
	state                byte
}

// processes lists all processes.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []process
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := readProcess(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// readProcess reads /proc/pid/stat: "pid (command) state ppid pgrp session …".
// The command may contain anything, but the last ")" ends it.
func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	end := bytes.LastIndexByte(text, ')')
	if err != nil || end < 0 {
		return process{}, false
	}
	f := strings.Fields(string(text[end+1:]))
	if len(f) < 4 {
		return process{}, false
	}
	parent, _ := strconv.Atoi(f[1])
	session, _ := strconv.Atoi(f[3])
	return process{pid, parent, session, f[0][0]}, true
}

// processState is as 'R', 'S', 'T' (stopped) or 'Z' (ended); 0 for none.
func processState(pid int) byte {
	p, _ := readProcess(pid)
	return p.state
}

// abandonAfter bounds the killing of processes: one in an uninterruptible sleep
// of the kernel does not die.
const abandonAfter = 3 * time.Second

// killDescendants kills every descendant of this process but those of spare, and
// returns when none is left. With reap, it also waits for our children: after the
// ranks, orphans that were given to us.
func killDescendants(spare int, reap bool) {
	for start := time.Now(); time.Since(start) < abandonAfter; time.Sleep(2 * time.Millisecond) {
		left := living(spare, reap)
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if len(left) == 0 {
			return
		}
	}
}

// living returns the descendants of this process that have not ended, without the
// tree of spare; with reap it waits for those children that have.
func living(spare int, reap bool) []process {
	self := os.Getpid()
	return slices.DeleteFunc(descendants(processes(), self, spare), func(p process) bool {
		if p.state == 'Z' && reap && p.parent == self {
			_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		}
		return p.state == 'Z'
	})
}

// descendants returns the processes below root, without the tree of spare.
func descendants(all []process, root, spare int) []process {
	below := map[int]bool{root: true}
	var found []process
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if below[p.parent] && !below[p.pid] && p.pid != spare {
				below[p.pid], grown = true, true
				found = append(found, p)
			}
		}
	}
	return found
}
