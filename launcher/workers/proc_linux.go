// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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

// fileClockLag is how late the clock that dates files may be: it stands still for a tick, and in a virtual machine the next one
// comes late.
func fileClockLag() time.Duration {
	var ts unix.Timespec
	if unix.ClockGetres(unix.CLOCK_REALTIME_COARSE, &ts) != nil {
		return 20 * time.Millisecond // twice the slowest tick of usual kernels
	}
	return 2 * time.Duration(ts.Nano())
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
