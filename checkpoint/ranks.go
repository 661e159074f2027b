// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"octet/internal/durable"
)

// Ranks write the files of one folder together, and rank 0 then gives it its name. They meet in the file system, by a small
// file of each, so that no collective waits for a disk.
type Ranks struct {
	Rank, World int
	// Patience is how long ranks wait for one another while no file grows.
	Patience time.Duration
	// Alive, where there is one, is called now and then while they write and wait.
	Alive func()
}

func reportName(rank int) string { return fmt.Sprintf("rank-%05d.json", rank) }

// Report leaves what this rank has to say of its part, to rank 0, in the folder dir: whole, and on the disk.
func (r Ranks) Report(dir string, text []byte) error {
	return durable.Text(filepath.Join(dir, reportName(r.Rank)), text)
}

// Fail reports why this rank has no part. Where there is no room for it, it tries again for a second, in which others may have made
// some: without a report they would wait for this one.
func (r Ranks) Fail(dir string, why []byte) {
	for pause := 10 * time.Millisecond; r.Report(dir, why) != nil && pause < time.Second; pause *= 2 {
		r.alive()
		time.Sleep(pause)
	}
}

// Collect gives take, on rank 0, the reports of the others as they come, and removes them. Its error says which ranks are
// missing, or what take refused, or rank 0's own, with which it comes.
func (r Ranks) Collect(dir string, own error, take func(text []byte) error) error {
	var failed []string
	if own != nil {
		failed = append(failed, fmt.Sprintf("rank 0: %v", own))
	}
	var missing []int
	for rank := 1; rank < r.World; rank++ {
		missing = append(missing, rank)
	}
	err := r.await(dir, func() (bool, error) {
		missing = slices.DeleteFunc(missing, func(rank int) bool {
			text, err := os.ReadFile(filepath.Join(dir, reportName(rank)))
			if errors.Is(err, fs.ErrNotExist) {
				return false
			}
			if err == nil {
				err = take(text)
			}
			if err != nil {
				failed = append(failed, fmt.Sprintf("rank %d: %v", rank, err))
			}
			return true
		})
		return len(missing) == 0, nil
	})
	switch {
	case r.World <= 1 && own != nil:
		return own
	case len(failed) > 0:
		return errors.New(strings.Join(failed, "; "))
	case errors.Is(err, errSilent):
		return fmt.Errorf("no file grew for %v, and %d of %d ranks have not written their part: %s", r.Patience, len(missing), r.World, few(missing))
	case err != nil:
		return err
	}
	for rank := range r.World {
		if err := os.Remove(filepath.Join(dir, reportName(rank))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// AwaitEnd waits, on the other ranks, until rank 0 has made the file final of what is in dir, or has given up.
func (r Ranks) AwaitEnd(dir, final string) error {
	return r.await(dir, func() (bool, error) { return exists(final), nil })
}

// few lists some of many ranks.
func few(ranks []int) string {
	const most = 8
	var b strings.Builder
	for i, r := range ranks {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(ranks)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, r)
	}
	return b.String()
}

// errSilent is the end of a wait in which nothing came.
var errSilent = errors.New("nothing was written")

// errGone is the end of a wait for a folder that was removed.
var errGone = errors.New("its folder is gone")

// await asks done now and then until it is true or fails. It gives up when nothing in the folder
// dir has changed for Patience, or the folder is gone.
func (r Ranks) await(dir string, done func() (bool, error)) error {
	pause := time.Millisecond
	before, since := "", time.Now()
	for {
		gone := !exists(dir)
		if ok, err := done(); ok || err != nil { // asked after, so that a rename is seen as what it is
			return err
		}
		switch now := listing(dir); {
		case gone:
			return errGone
		case now != before:
			before, since = now, time.Now()
			r.alive()
		case time.Since(since) > r.Patience:
			return errSilent
		}
		time.Sleep(pause)
		pause = min(2*pause, 500*time.Millisecond)
	}
}

func (r Ranks) alive() {
	if r.Alive != nil {
		r.Alive()
	}
}

// listing is the files of a folder with their sizes and dates: a file of its full size from the start is seen to be written.
func listing(dir string) string {
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}
