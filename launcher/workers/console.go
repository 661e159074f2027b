// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"io"
	"sync"
	"unicode/utf8"
)

// Console is where the ranks of a host write together: whole lines, each with
// the mark of its rank. On a terminal the last unfinished line of a rank that
// draws with carriage returns (a progress bar) stays at the bottom.
type Console struct {
	mu       sync.Mutex
	out, err io.Writer
	width    func() int // columns of the terminal; nil where there is none
	lost     *Lost
	status   []byte // the unfinished line on the screen
	buf      []byte
}

// NewConsole returns a console on out and err. width returns the columns of the
// terminal that both are; nil if they are none. What cannot be written is told to
// lost, which may be nil.
func NewConsole(out, err io.Writer, width func() int, lost *Lost) *Console {
	return &Console{out: out, err: err, width: width, lost: lost}
}

// clearLine moves to the first column and erases the line.
const clearLine = "\r\x1b[K"

// line writes text and the end of a line to stderr (fd 2) or stdout (fd 1), with
// one write, so that processes which share the console do not mix lines.
func (c *Console) line(fd int, prefix string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = c.buf[:0]
	if len(c.status) > 0 {
		c.buf = append(c.buf, clearLine...)
	}
	c.buf = append(append(append(c.buf, prefix...), text...), '\n')
	c.buf = append(c.buf, c.status...)
	// A console that fails must not stop the ranks: their output is still read, and
	// filed.
	c.lost.write(c.fd(fd), stdNames[fd-1], c.buf)
}

// showStatus shows an unfinished line; on anything but a terminal it shows nothing.
func (c *Console) showStatus(fd int, prefix string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.width == nil {
		return
	}
	had := len(c.status) > 0
	c.status = c.status[:0]
	if len(text) > 0 {
		c.status = firstRunes(append(append(c.status, prefix...), text...), c.width()-1)
	}
	if had || len(c.status) > 0 {
		_, _ = c.fd(fd).Write(append([]byte(clearLine), c.status...))
	}
}

// firstRunes cuts text to n characters, so that it stays on one line.
func firstRunes(text []byte, n int) []byte {
	for i := 0; i < len(text); n-- {
		if n <= 0 {
			return text[:i]
		}
		_, size := utf8.DecodeRune(text[i:])
		i += size
	}
	return text
}

func (c *Console) fd(fd int) io.Writer {
	if fd == 2 {
		return c.err
	}
	return c.out
}
