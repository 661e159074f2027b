// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"octet/launcher"
)

// runDir is the folder of a run below the temporary directory. It holds what the
// operator did not ask for a place for, and its name, which all ranks and their
// children inherit in RunDirVar, marks them as this run's.
//
// The launcher holds a lock on the folder, which the kernel takes back when the
// launcher ends in whatever way. A folder without a lock was left by a launcher
// that could not clean up, and the next start does it.
type runDir struct {
	path string
	lock *os.File
}

const runDirPrefix = "octet_run_"

// newRunDir makes the folder. It has its name only once it is locked, so that
// nobody sweeps it away before.
func newRunDir() (*runDir, error) {
	fresh, err := os.MkdirTemp("", "octet_new_*")
	if err != nil {
		return nil, err
	}
	d := &runDir{path: filepath.Join(filepath.Dir(fresh), runDirPrefix+strings.TrimPrefix(filepath.Base(fresh), "octet_new_"))}
	if d.lock, err = lockDir(fresh); err == nil {
		err = os.Rename(fresh, d.path)
	}
	if err != nil {
		return nil, errors.Join(err, d.lock.Close(), os.RemoveAll(fresh))
	}
	return d, nil
}

// lockDir opens and locks a folder; an error means that somebody else has.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *runDir) close() {
	_ = os.RemoveAll(d.path) // what is left, the next start sweeps
	d.lock.Close()
}

// mark is in the environment of all processes of the run of a folder, and of no
// other.
func mark(dir string) []byte { return []byte(launcher.RunDirVar + "=" + dir + "\x00") }

// sweep ends what launchers of this user left that were killed together with
// their guards: processes that the ranks had started, folders.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), runDirPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) {
			continue
		}
		lock, err := lockDir(dir)
		if err != nil {
			continue // its launcher lives
		}
		killAll(func(p process) bool { return marked(p.pid, dir) })
		_ = os.RemoveAll(dir)
		lock.Close()
	}
}
