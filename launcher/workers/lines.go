// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"bytes"
	"os"
	"strings"
	"sync"
)

// sink takes one stream of one rank apart into lines, for the console and the
// files, in the order in which the rank wrote them.
type sink struct {
	fd       int      // 1 stdout, 2 stderr
	file     *os.File // every byte; nil for none
	console  *Console // nil where the console does not show this stream
	prefix   string
	filters  []string // lines that contain one of them also go to filtered
	filtered *lockedFile
	tail     *tail // nil for stdout
	lost     *Lost

	status []byte // the text before the last carriage return of the line
}

// maxLine is how many bytes may wait for the end of their line.
const maxLine = 64 << 10

// copy reads r to its end.
func (s *sink) copy(r *os.File) {
	defer r.Close()
	if s.file != nil {
		defer s.file.Close()
	}
	buf := make([]byte, 0, maxLine)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		if s.file != nil {
			s.lost.write(s.file, s.file.Name(), buf[len(buf):len(buf)+n])
		}
		buf = s.split(buf[:len(buf)+n])
		if len(buf) == cap(buf) {
			s.line(buf)
			buf = buf[:0]
		}
		if err != nil { // io.EOF, or the end of the group closed it
			if len(buf) > 0 || len(s.status) > 0 {
				s.line(buf)
			}
			return
		}
	}
}

// split passes the complete lines of buf on, and moves the rest to its front.
func (s *sink) split(buf []byte) []byte {
	rest := buf
	for {
		i := bytes.IndexAny(rest, "\n\r")
		if i < 0 {
			return buf[:copy(buf, rest)]
		}
		text := rest[:i]
		if rest[i] == '\n' {
			s.line(text)
		} else if len(text) > 0 {
			s.status = append(s.status[:0], text...)
			if s.console != nil {
				s.console.showStatus(s.fd, s.prefix, text)
			}
		}
		rest = rest[i+1:]
	}
}

// line ends a line. As on a screen, only what follows its last carriage return
// remains of it.
func (s *sink) line(text []byte) {
	if len(s.status) > 0 {
		if len(text) == 0 {
			text = s.status
		}
		if s.console != nil {
			s.console.showStatus(s.fd, "", nil)
		}
	}
	if s.console != nil {
		s.console.line(s.fd, s.prefix, text)
	}
	if s.tail != nil {
		s.tail.add(strings.ToValidUTF8(string(text), "?"))
	}
	for _, word := range s.filters {
		if bytes.Contains(text, []byte(word)) {
			s.filtered.write(s.prefix, text)
			break
		}
	}
	s.status = s.status[:0]
}

// lockedFile is a file to which several ranks write lines.
type lockedFile struct {
	mu   sync.Mutex
	f    *os.File
	lost *Lost
}

func (l *lockedFile) write(prefix string, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost.write(l.f, l.f.Name(), []byte(prefix+string(text)+"\n"))
}
