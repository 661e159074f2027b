// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"octet/comm/internal/group"
)

// reader is a wire while its rank waits for a message.
type reader struct {
	*wire
	patience
	check func() error
}

// read waits for bytes, and reads some of them.
func (r *reader) read(b []byte) (int, error) {
	for {
		start := time.Now()
		if left := r.due.Sub(start); left < firstSleep/2 || left > r.next() { // not each time: it takes as long as a read
			r.due = start.Add(r.next())
			r.conn.SetReadDeadline(r.due)
			if err := r.node.job.Cause(); err != nil { // its deadline may have come before ours
				return 0, err
			}
		}
		k, err := r.conn.Read(b)
		if k > 0 {
			return k, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, r.lost()
		}
		r.slept(time.Since(start))
		err = r.check()
		if k := r.ready(b); k > 0 {
			return k, nil
		}
		if err == nil && r.next() == 0 {
			err = group.Timeout{World: r.rank}
		}
		if err != nil {
			return 0, err
		}
	}
}

// full reads as many bytes as b has.
func (r *reader) full(b []byte) error {
	for len(b) > 0 {
		k, err := r.read(b)
		if err != nil {
			return err
		}
		b = b[k:]
	}
	return nil
}

// place reads a message of so many bytes to where m says. It may end in a gap.
func (r *reader) place(m *group.Message, size int) error {
	got := 0
	for i := range m.Bufs {
		a, b := m.Layout.Span(i, m.Lo, m.Hi)
		if a >= b {
			continue
		}
		at := m.Layout.At[i] + a - m.Lo
		if at+b-a > size {
			return r.misfit(size, m)
		}
		if err := r.full(r.gap[:at-got]); err != nil {
			return err
		}
		if err := r.full(m.Bufs[i][a:b]); err != nil {
			return err
		}
		got = at + b - a
	}
	if size-got > len(r.gap) {
		return r.misfit(size, m)
	}
	return r.full(r.gap[:size-got])
}

func (r *reader) misfit(size int, m *group.Message) error {
	return fmt.Errorf("%s sends %d bytes in a message of %d", r.node.describe(r.rank), size, m.Hi-m.Lo)
}

// ready reads what there is, if anything, without waiting.
func (w *wire) ready(b []byte) (k int) {
	raw, err := w.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0
	}
	w.due = time.Time{}
	w.conn.SetReadDeadline(w.due)
	_ = raw.Read(func(fd uintptr) bool {
		k, _ = unix.Read(int(fd), b) // whoever waits finds an error
		return true
	})
	return max(k, 0)
}
