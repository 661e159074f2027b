// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// deaths waits for the ends of other processes of this host, of all at once and
// without looking at any: a pidfd of each, which also keeps its number from
// meaning a later process, in one epoll. Where the kernel has no pidfds, the
// numbers have to do and are looked at.
type deaths struct {
	pids    []int
	fds     []int // -1: none
	epoll   int
	stopped int // an eventfd
	look    bool
}

// lookInterval is how often processes without a pidfd are looked at.
const lookInterval = 50 * time.Millisecond

// watchDeaths watches processes that live; pid 0 is none.
func watchDeaths(pids []int) (*deaths, error) {
	d := &deaths{pids: pids, epoll: -1, stopped: -1}
	err := d.open()
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *deaths) open() (err error) {
	if d.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create: %w", err)
	}
	if d.stopped, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if err := d.add(d.stopped, len(d.pids)); err != nil {
		return err
	}
	for i, pid := range d.pids {
		fd := -1
		if pid != 0 {
			fd, err = unix.PidfdOpen(pid, 0)
			if errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d is gone", pid)
			}
			if err != nil {
				fd, d.look = -1, true
			} else if err := d.add(fd, i); err != nil {
				return errors.Join(err, unix.Close(fd))
			}
		}
		d.fds = append(d.fds, fd)
	}
	return nil
}

// add makes next return i, once, when fd is readable.
func (d *deaths) add(fd, i int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(i)}
	if err := unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// next returns the index of a process that has ended, each once, or false after
// stop.
func (d *deaths) next() (i int, ok bool) {
	timeout := -1
	if d.look {
		timeout = int(lookInterval / time.Millisecond)
	}
	var ev [1]unix.EpollEvent
	for {
		n, err := unix.EpollWait(d.epoll, ev[:], timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, false
		}
		if n == 1 {
			i = int(ev[0].Fd)
			return i, i < len(d.pids)
		}
		for i, pid := range d.pids {
			if d.look && pid != 0 && d.fds[i] < 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
				d.pids[i] = 0
				return i, true
			}
		}
	}
}

// stop makes next return false. Several calls of it do no harm.
func (d *deaths) stop() {
	_, _ = unix.Write(d.stopped, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail but for a full counter, which is readable too
}

// close releases what watchDeaths took; next must have returned.
func (d *deaths) close() {
	for _, fd := range append(d.fds, d.epoll, d.stopped) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
