// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"octet/internal/durable"
)

// Listed is an entry of a folder of checkpoints.
type Listed struct {
	Step int
	Dir  string
	Torn bool // a save did not end: there is no index
}

// StepName is the folder of a step's checkpoint.
func StepName(step int) string { return fmt.Sprintf("step-%d", step) }

// List is what is in a folder of checkpoints, by step, torn ones included. There may be no such
// folder.
func List(folder string) ([]Listed, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name := regexp.MustCompile(`^step-([0-9]{1,9})(\.tmp-.*)?$`)
	var list []Listed
	for _, e := range entries {
		match := name.FindStringSubmatch(e.Name())
		if match == nil || !e.IsDir() {
			continue
		}
		step, err := strconv.Atoi(match[1])
		if err != nil {
			return nil, err
		}
		l := Listed{Step: step, Dir: filepath.Join(folder, e.Name())}
		l.Torn = match[2] != "" || !exists(filepath.Join(l.Dir, IndexName))
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Or(cmp.Compare(a.Step, b.Step), strings.Compare(a.Dir, b.Dir)) })
	return list, nil
}

// Whole are those of List that are checkpoints, by step.
func Whole(folder string) ([]Listed, error) {
	list, err := List(folder)
	return slices.DeleteFunc(list, func(l Listed) bool { return l.Torn }), err
}

// At are the checkpoints that a path names: it is one, or the folder of them, by step. There may be none.
func At(path string) (dirs []string) {
	if exists(filepath.Join(path, IndexName)) {
		return []string{path}
	}
	list, _ := Whole(path)
	for _, l := range list {
		dirs = append(dirs, l.Dir)
	}
	return dirs
}

// retain removes all checkpoints of a folder but the newest ones.
func retain(folder string, newest int) error {
	list, err := Whole(folder)
	if err != nil || newest < 1 || len(list) <= newest {
		return err
	}
	for _, l := range list[:len(list)-newest] {
		if err := remove(l.Dir); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a checkpoint, by another name, so that what a crash leaves of it is none.
func remove(dir string) error {
	away := dir + ".tmp-removed"
	if err := os.RemoveAll(away); err != nil {
		return err
	}
	if err := os.Rename(dir, away); err != nil {
		return err
	}
	return os.RemoveAll(away)
}

// SetAside renames the checkpoints of a folder that are of later steps than the given one, so that they are not taken for what
// comes after it now, and says so.
func SetAside(folder string, step int) (said []string, err error) {
	whole, err := Whole(folder)
	if err != nil {
		return nil, err
	}
	for _, l := range whole {
		if l.Step <= step {
			continue
		}
		n := 1
		for exists(fmt.Sprintf("%s.%d", l.Dir, n)) {
			n++
		}
		aside := fmt.Sprintf("%s.%d", l.Dir, n)
		if err := os.Rename(l.Dir, aside); err != nil {
			return said, err
		}
		said = append(said, fmt.Sprintf("%s, of a later step than the run now goes on from, is now %s", l.Dir, filepath.Base(aside)))
	}
	return said, durable.Folder(folder)
}
