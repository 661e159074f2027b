// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"octet/nn"
)

// commit makes a checkpoint of what the ranks write to tmp, of which own is this one's report: it waits for the others',
// checks that the parts tile every tensor, writes the index, and renames the folder to final. A failure removes tmp, by which
// the other ranks know.
func (s *Saver) commit(tmp, final string, own *report, run Run, tensors []nn.DTensor) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	x := &Index{Format: format, Run: run, Files: map[string]File{}, Tensors: map[string]Tensor{}}
	x.ConfigSHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte(run.Config)))
	if len(tensors) > 0 {
		x.Mesh = tensors[0].Layout.Mesh().Axes()
	}
	if err := s.collect(x, tmp, own); err != nil {
		return err
	}
	text, err := x.encode()
	if err != nil {
		return err
	}
	if _, err := decode(text); err != nil { // as whoever loads it will
		return err
	}
	if exists(final) {
		return fmt.Errorf("%s is there already; a checkpoint is never overwritten", final)
	}
	for name, f := range x.Files {
		if stat, err := os.Stat(filepath.Join(tmp, name)); err != nil {
			return err
		} else if stat.Size() != f.Size {
			return fmt.Errorf("%s has %d bytes, not the %d that were written", name, stat.Size(), f.Size)
		}
	}
	for rank := range s.o.World {
		if err := os.Remove(filepath.Join(tmp, reportName(rank))); err != nil {
			return err
		}
	}
	if err := errors.Join(writeSynced(filepath.Join(tmp, IndexName), text), syncFolder(tmp)); err != nil {
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	return errors.Join(syncFolder(s.o.Folder), retain(s.o.Folder, s.o.Keep))
}

// collect adds the reports of all ranks to an index, as they come.
func (s *Saver) collect(x *Index, tmp string, own *report) error {
	var failed []string
	take := func(rank int, r *report) {
		if r.Error != "" {
			failed = append(failed, fmt.Sprintf("rank %d: %s", rank, r.Error))
		}
		x.add(r)
	}
	take(0, own)
	var missing []int
	for rank := 1; rank < s.o.World; rank++ {
		missing = append(missing, rank)
	}
	err := s.await(tmp, func() (bool, error) {
		var bad error
		missing = slices.DeleteFunc(missing, func(rank int) bool {
			text, err := os.ReadFile(filepath.Join(tmp, reportName(rank)))
			if errors.Is(err, fs.ErrNotExist) {
				return false
			}
			var r report
			if err == nil {
				err = json.Unmarshal(text, &r)
			}
			if err != nil {
				bad = fmt.Errorf("the report of rank %d: %w", rank, err)
			}
			take(rank, &r)
			return true
		})
		return len(missing) == 0, bad
	})
	switch {
	case len(failed) > 0:
		return errors.New(strings.Join(failed, "; "))
	case errors.Is(err, errSilent):
		return fmt.Errorf("no file grew for %v, and %d of %d ranks have not written their part: %s", s.o.Patience, len(missing), s.o.World, few(missing))
	}
	return err
}

// add takes what a rank reports.
func (x *Index) add(r *report) {
	for name, f := range r.Files {
		x.Files[name] = f
	}
	for name, t := range r.Tensors {
		whole, ok := x.Tensors[name]
		if !ok {
			whole = Tensor{Shape: t.Shape, DType: t.DType}
		}
		whole.Parts = append(whole.Parts, t.Parts...)
		slices.SortFunc(whole.Parts, func(a, b Part) int { return slices.Compare(a.Lo, b.Lo) })
		x.Tensors[name] = whole
	}
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
func (s *Saver) await(dir string, done func() (bool, error)) error {
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
			s.o.Alive()
		case time.Since(since) > s.o.Patience:
			return errSilent
		}
		time.Sleep(pause)
		pause = min(2*pause, 500*time.Millisecond)
	}
}

// listing is the files of a folder with their sizes.
func listing(dir string) string {
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			fmt.Fprintln(&b, e.Name(), info.Size())
		}
	}
	return b.String()
}
