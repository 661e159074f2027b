// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Exchange gives every rank the texts of all, by rank.
type Exchange func(text string) ([]string, error)

// Prepare makes the folder and finds out whether all ranks see the same one, before anything is written there. It removes what saves
// that did not end have left, and returns their names. All ranks call it.
func (s *Saver) Prepare(exchange Exchange) (torn []string, err error) {
	probe := ""
	refused := func(err error) string {
		if err == nil {
			return ""
		}
		return fmt.Sprintf("rank %d: %v", s.o.Rank, err)
	}
	if s.o.Rank == 0 {
		torn, err = s.clean()
		if err == nil {
			probe, err = makeProbe(s.o.Folder)
		}
		defer os.Remove(probe)
	}
	names, err := agreed(exchange, filepath.Base(probe), refused(err))
	if err != nil {
		return nil, err
	}
	probe = filepath.Join(s.o.Folder, names[0])
	own := fmt.Sprintf("%s-%d", probe, s.o.Rank)
	defer os.Remove(own)
	if _, err = os.Stat(probe); err == nil {
		err = os.WriteFile(own, nil, 0o666)
	} else {
		err = fmt.Errorf("does not see what rank 0 wrote in %s (%w): the ranks of all hosts have to see one folder there; put job.dump_folder on a file system that the hosts share", s.o.Folder, err)
	}
	if _, err := agreed(exchange, "", refused(err)); err != nil {
		return nil, err
	}
	if err = nil; s.o.Rank == 0 {
		for rank := range s.o.World {
			if !exists(fmt.Sprintf("%s-%d", probe, rank)) {
				err = fmt.Errorf("does not see what rank %d wrote in %s: the ranks of all hosts have to see one folder there; put job.dump_folder on a file system that the hosts share", rank, s.o.Folder)
			}
		}
	}
	_, err = agreed(exchange, "", refused(err))
	return torn, err
}

// agreed exchanges texts, and is an error on all ranks if one of them has one.
func agreed(exchange Exchange, text, problem string) ([]string, error) {
	const mark = "!" // before a problem
	if problem != "" {
		text = mark + problem
	}
	all, err := exchange(text)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if problem, ok := strings.CutPrefix(t, mark); ok {
			return nil, fmt.Errorf("checkpoint.folder: %s", problem)
		}
	}
	return all, nil
}

// clean makes the folder, and removes what saves that did not end have left.
func (s *Saver) clean() (torn []string, err error) {
	if err := os.MkdirAll(s.o.Folder, 0o777); err != nil {
		return nil, err
	}
	list, err := List(s.o.Folder)
	if err != nil {
		return nil, err
	}
	probes, err := filepath.Glob(filepath.Join(s.o.Folder, probePrefix+"*"))
	for _, path := range probes {
		err = errors.Join(err, os.Remove(path))
	}
	for _, l := range list {
		if l.Torn {
			torn = append(torn, l.Dir)
		}
		if l.Torn && strings.Contains(filepath.Base(l.Dir), ".tmp-") {
			err = errors.Join(err, os.RemoveAll(l.Dir))
		}
	}
	return torn, err
}

const probePrefix = ".probe-"

// makeProbe writes a file whose name nobody can know.
func makeProbe(folder string) (string, error) {
	path := filepath.Join(folder, probePrefix+rand.Text())
	return path, os.WriteFile(path, nil, 0o666)
}
