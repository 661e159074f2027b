// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workerAttr gives a rank a session and process group of its own. If the launcher
// is killed, the guard is who ends it.
func workerAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// becomeSubreaper does nothing: macOS gives orphans to its first process. What left
// a rank's process group is then not found.
func becomeSubreaper() error { return nil }

// waitForEnd returns when the child has ended, and leaves it to be waited for.
func waitForEnd(pid int) {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(queue)
	var end unix.Kevent_t
	unix.SetKevent(&end, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	end.Fflags = unix.NOTE_EXIT
	for { // a process that has ended already is ESRCH
		if _, err := unix.Kevent(queue, []unix.Kevent_t{end}, make([]unix.Kevent_t, 1), nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// fileClockLag is more than the clock that dates files may be late.
func fileClockLag() time.Duration { return 10 * time.Millisecond }

// processes lists all processes but the one that lists them; a process group
// stands for a session, since each rank leads both.
func processes() []process {
	cmd := exec.Command("ps", "-axo", "pid=,ppid=,pgid=,stat=")
	text, err := cmd.Output()
	if err != nil {
		return nil
	}
	var all []process
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		pid, _ := strconv.Atoi(f[0])
		parent, _ := strconv.Atoi(f[1])
		group, _ := strconv.Atoi(f[2])
		if pid != cmd.Process.Pid {
			all = append(all, process{pid, parent, group, f[3][0]})
		}
	}
	return all
}

// processState is as 'R', 'S', 'T' (stopped) or 'Z' (ended); 0 for none.
func processState(pid int) byte {
	for _, p := range processes() {
		if p.pid == pid {
			return p.state
		}
	}
	return 0
}
