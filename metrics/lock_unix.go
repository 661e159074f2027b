// SPDX-License-Identifier: Apache-2.0

//go:build unix

package metrics

import (
	"errors"
	"os"
	"syscall"
)

var errHeld = errors.New("another process holds the lock")

// lockFile locks the file for this process alone, or with others who only look, or is errHeld at once. The end of the process unlocks it.
// Where the file system knows no locks there is none.
func lockFile(f *os.File, alone bool) error {
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errHeld
		case errors.Is(err, syscall.ENOLCK), errors.Is(err, errors.ErrUnsupported):
			return nil
		default:
			return err
		}
	}
}
