// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func pid() int { return os.Getpid() }

// process is another process of this host. Its pidfd keeps the identifier from
// meaning a later process; where the kernel has none, the number has to do.
type process struct {
	pid, fd int
}

func watchProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return &process{pid, fd}, nil
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("its process %d is gone", pid)
	}
	return &process{pid, -1}, nil
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	if p.fd < 0 {
		return errors.Is(unix.Kill(p.pid, 0), unix.ESRCH)
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

func (p *process) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// hostID is equal for processes that can share memory: same boot of the same
// kernel, same namespace of processes.
func hostID() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	pids, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + " " + pids, nil
}
