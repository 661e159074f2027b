// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

var errHeld = errors.New("another process holds the lock")

// lockFile locks a byte far behind the file's end, so that others can still read who holds it.
func lockFile(f *os.File, alone bool) error {
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if alone {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 20})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errHeld
	}
	return err
}
