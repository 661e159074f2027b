// SPDX-License-Identifier: Apache-2.0

package data

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// locked calls f while it is the only process that has the lock of a path. Whoever has it says in the file who it is and how far: tell does that, at most
// once a second. It waits for another as long as that goes on, and silence of so long is an error with its name. A lock ends with its process.
func locked(path string, silence time.Duration, f func(tell func(string)) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer file.Close() // and with it the lock
	if err := waitFor(file, silence); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var last time.Time
	tell := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		line := fmt.Appendf(nil, "process %d on %s: %s\n", os.Getpid(), host, text)
		if _, err := file.WriteAt(line, 0); err == nil {
			_ = file.Truncate(int64(len(line))) // what nobody can write nobody waits for: the lock is what counts
		}
	}
	tell("has begun")
	return f(tell)
}

// waitFor takes the lock of a file.
func waitFor(file *os.File, silence time.Duration) error {
	var heard []byte
	since := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("data: lock of %s: %w", file.Name(), err)
		}
		said := make([]byte, 500)
		n, _ := file.ReadAt(said, 0)
		if said = bytes.TrimSpace(said[:n]); !bytes.Equal(said, heard) {
			heard, since = said, time.Now()
		}
		if time.Since(since) > silence {
			return fmt.Errorf("data: waited %v for another process to prepare the data; it holds %s and last said %q: end it, or wait longer", silence, file.Name(), heard)
		}
		time.Sleep(min(pause, silence))
	}
}
