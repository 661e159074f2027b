// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// LockName is the file in a dump folder that its process holds locked, and that says who that is.
const LockName = "octet.lock"

// Owner is who writes to a dump folder.
type Owner struct {
	Job     string    `json:"job"`     // the same for all attempts of a job, and for no other job
	Attempt int       `json:"attempt"` // from 0
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Since   time.Time `json:"since"`
}

// Folder is the dump folder of a run: this process holds it alone, and what is in it from an earlier job stays, under another name.
type Folder struct {
	path      string
	lock      *os.File
	continues bool // an attempt of the same job wrote here last, or one of the same run
	resumed   bool // after step
	step      int
	number    int // in the names of the files that were renamed last
	say       func(string)
}

// patience is how long OpenFolder waits for one who only looks, and for the end of the attempt before.
const patience = 2 * time.Second

// OpenFolder makes the folder where needed and locks it for o, until Close or the end of the process. What it renames it says.
func OpenFolder(path string, o Owner, say func(string)) (*Folder, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, fmt.Errorf("job.dump_folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, LockName), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("job.dump_folder: %w", err)
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = lockFile(lock, true); !errors.Is(err, errHeld) {
			break
		}
		if time.Since(start) > patience {
			return nil, errors.Join(held(path, lock), lock.Close())
		}
	}
	f := &Folder{path: path, lock: lock, number: 1, say: say}
	if err == nil {
		before, readErr := readOwner(lock)
		f.continues = readErr == nil && before.Job == o.Job && before.Attempt < o.Attempt
		err = writeOwner(lock, o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("job.dump_folder: %s: %w", lock.Name(), err), lock.Close())
	}
	return f, nil
}

// CheckFolder is an error if another process holds the folder at path; there may be none yet.
func CheckFolder(path string) error {
	lock, err := os.Open(filepath.Join(path, LockName))
	if err != nil {
		return nil // nobody's, or OpenFolder will say what is wrong
	}
	defer lock.Close()
	if errors.Is(lockFile(lock, false), errHeld) {
		return held(path, lock)
	}
	return nil
}

// held says who holds the folder.
func held(path string, lock *os.File) error {
	who := "another process"
	if o, err := readOwner(lock); err == nil {
		who = fmt.Sprintf("process %d on %s", o.PID, o.Host)
		if !o.Since.IsZero() {
			who += ", since " + o.Since.Format(time.DateTime)
		}
	}
	return fmt.Errorf("job.dump_folder = %q: %s writes there; wait for its end, or name another folder", path, who)
}

func readOwner(lock *os.File) (o Owner, err error) {
	text, err := io.ReadAll(io.NewSectionReader(lock, 0, 1<<16))
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	return o, err
}

func writeOwner(lock *os.File, o Owner) error {
	text, err := json.Marshal(o)
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		_, err = lock.WriteAt(append(text, '\n'), 0)
	}
	return err
}

// Append opens the file called name for more lines: that of an earlier attempt of this job, without a last line that was cut; one of an
// earlier job is renamed, and a new one begins.
func (f *Folder) Append(name string) (*os.File, error) {
	path, err := f.prepare(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fmt.Errorf("job.dump_folder: %w", err)
	}
	err = cutLastLine(file)
	if err == nil && f.resumed {
		err = cutSteps(file, f.step)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("job.dump_folder: %w", err), file.Close())
	}
	return file, nil
}

// Resume says that the run goes on after a step: what it wrote of later ones comes again, and is cut from files that Append
// opens. own says that what is in the folder is of this run, whichever job wrote it; otherwise only attempts of one job go on.
func (f *Folder) Resume(own bool, step int) {
	f.continues = f.continues || own
	f.resumed, f.step = f.continues, step
}

// cutSteps removes the first line of a step after the given one, and all behind it.
func cutSteps(file *os.File, step int) error {
	at := int64(0)
	for in := bufio.NewReader(io.NewSectionReader(file, 0, 1<<62)); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		var r struct{ Step int }
		if err == nil {
			err = json.Unmarshal(line, &r)
		}
		if err != nil {
			return fmt.Errorf("%s: after %d bytes: %w", file.Name(), at, err)
		}
		if r.Step > step {
			return file.Truncate(at)
		}
		at += int64(len(line))
	}
}

// Write makes the file called name anew, renaming that of an earlier job. fill writes what is in it; an earlier attempt's is replaced.
func (f *Folder) Write(name string, fill func(io.Writer) error) error {
	path, err := f.prepare(name)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("job.dump_folder: %w", err)
	}
	return errors.Join(fill(file), file.Close())
}

// Subfolder makes the folder called name, renaming that of an earlier job; an earlier attempt's is kept with what is in it.
func (f *Folder) Subfolder(name string) (path string, err error) {
	path, err = f.prepare(name)
	if err == nil {
		err = os.MkdirAll(path, 0o777)
	}
	if err != nil {
		return "", fmt.Errorf("job.dump_folder: %w", err)
	}
	return path, nil
}

// Path is where a file of the folder is.
func (f *Folder) Path(name string) string { return filepath.Join(f.path, name) }

// Close lets go of the folder. The lock's file stays: it says whose attempts may go on.
func (f *Folder) Close() error { return f.lock.Close() }

// prepare makes way for a file, and its folder.
func (f *Folder) prepare(name string) (path string, err error) {
	path = f.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return "", fmt.Errorf("job.dump_folder: %w", err)
	}
	if info, err := os.Stat(path); f.continues || err != nil || info.Size() == 0 {
		return path, nil // nothing is lost
	}
	older := numbered(path, f.number)
	for ; exists(older); older = numbered(path, f.number) {
		f.number++
	}
	if err := os.Rename(path, older); err != nil {
		return "", fmt.Errorf("job.dump_folder: %w", err)
	}
	f.say(fmt.Sprintf("%s of an earlier run is now %s", path, filepath.Base(older)))
	return path, nil
}

// numbered is path with a number before its extension: metrics.1.jsonl.
func numbered(path string, n int) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s.%d%s", strings.TrimSuffix(path, ext), n, ext)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// cutLastLine removes what follows the last end of a line.
func cutLastLine(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	end, one := info.Size(), make([]byte, 1)
	for ; end > 0; end-- {
		if _, err := file.ReadAt(one, end-1); err != nil {
			return err
		}
		if one[0] == '\n' {
			break
		}
	}
	if end == info.Size() {
		return nil
	}
	return file.Truncate(end)
}

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
