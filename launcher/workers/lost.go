// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/hashicorp/go-multierror"
)

// Lost keeps what went wrong when output of the ranks was written: a full disk does
// not stop a rank, but whoever started it must know. A nil *Lost keeps nothing.
type Lost struct {
	say func(string) // tells the operator at once

	mu    sync.Mutex
	files map[string]bool // that have lost output
	errs  *multierror.Error
}

// NewLost returns a Lost that says each file's first error with say.
func NewLost(say func(string)) *Lost {
	oneALine := func(errs []error) string { return errors.Join(errs...).Error() }
	return &Lost{say: say, files: map[string]bool{}, errs: &multierror.Error{ErrorFormat: oneALine}}
}

// write is f.Write whose error is kept. A console that is gone (a closed pipe) is
// somebody's wish.
func (l *Lost) write(f interface{ Write([]byte) (int, error) }, name string, text []byte) {
	_, err := f.Write(text)
	if l == nil || err == nil || errors.Is(err, syscall.EPIPE) {
		return
	}
	l.mu.Lock()
	known := l.files[name]
	l.files[name] = true
	if !known {
		l.errs = multierror.Append(l.errs, fmt.Errorf("%s: %w", name, cause(err)))
	}
	l.mu.Unlock()
	if !known {
		l.say(fmt.Sprintf("output of the ranks is lost: %s: %v", name, cause(err)))
	}
}

// cause is err without the name of the file, which write knows.
func cause(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

// Err is nil if everything was written.
func (l *Lost) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs.ErrorOrNil()
}
