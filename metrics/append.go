// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"io"
)

// Appender appends to a file. Bytes reach it before Append returns, unless it cannot be written: then they wait, and every Append, and
// Close, tries again.
type Appender struct {
	file    File
	say     func(string)
	waiting []byte // not written
	failed  bool   // the last write
}

// File is what an Appender writes to, an os.File.
type File interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// NewAppender returns an Appender to file, which it closes. When writing begins to fail, or succeeds again, it says so.
func NewAppender(file File, say func(string)) *Appender { return &Appender{file: file, say: say} }

// Append writes p behind all that came before.
func (a *Appender) Append(p []byte) {
	a.waiting = append(a.waiting, p...)
	if err := a.write(); err != nil && !a.failed {
		a.say(fmt.Sprintf("metrics: %v; the steps are kept, and written when that works again", err))
		a.failed = true
	} else if err == nil && a.failed {
		a.say(fmt.Sprintf("metrics: %s is written again, and complete", a.file.Name()))
		a.failed = false
	}
}

func (a *Appender) write() error {
	n, err := a.file.Write(a.waiting)
	a.waiting = append(a.waiting[:0], a.waiting[n:]...)
	return err
}

// Close writes what waits and returns what is lost: none where err is nil.
func (a *Appender) Close() (lost []byte, err error) {
	if len(a.waiting) > 0 {
		err = a.write()
	}
	return a.waiting, errors.Join(err, a.file.Sync(), a.file.Close())
}
