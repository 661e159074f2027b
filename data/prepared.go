// SPDX-License-Identifier: Apache-2.0

package data

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"octet/data/documents"
)

// made is what a source of documents was made into.
type made struct {
	fingerprint string
	documents   int64
}

// Check finds what is wrong with the data set of c as far as it shows without reading it whole: whether files are there, have the field, and are
// in the model's vocabulary. Of data that needs no preparation it is what [Open] checks.
func Check(c Config) error {
	if c.prepared() {
		_, err := openCorpus(c)
		return err
	}
	l, err := Open(c)
	if err != nil {
		return err
	}
	return l.Close()
}

// Prepare makes documents into ids, if c names documents that are not read as they are and nobody has yet, and checks that at least one window is
// there. Now and then it calls progress, which may be nil, with what it does and the bytes that it has done of all. Several processes may call it at once: one does the work
// and the others wait, as long as it goes on.
func Prepare(c Config, progress func(what string, done, all int64)) error {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	if !c.prepared() {
		return nil
	}
	source, err := openPrepared(c, progress)
	if err != nil {
		return err
	}
	l, err := load(c, source)
	if err != nil {
		return err
	}
	return l.Close()
}

// AnyVocabulary is the size of a vocabulary in which every id is.
const AnyVocabulary = math.MaxInt32

// PrepareTo makes the documents of c into ids in a folder that must not be there, for the data set tokens to read. It goes on where it was
// interrupted.
func PrepareTo(folder string, c Config, progress func(what string, done, all int64)) (counts Counts, err error) {
	if c.Dataset == "tokens" {
		return counts, errors.New("data: dataset tokens is ids already: name text, jsonl, parquet or gosource")
	}
	s, err := openCorpus(c)
	if err != nil {
		return counts, err
	}
	lock := filepath.Clean(folder) + partial + ".lock"
	err = locked(lock, silence, func(tell func(string)) error {
		if _, err := os.Stat(folder); !isMissing(err) {
			return cmp.Or(err, fmt.Errorf("data: %s is there already: name a folder that is not, or remove it", folder))
		}
		fingerprint, err := s.fingerprint(said("read", tell, progress))
		if err != nil {
			return err
		}
		made, err := s.build(filepath.Clean(folder), fingerprint, said("tokenised", tell, progress))
		counts = made.Counts
		return errors.Join(err, os.Remove(lock))
	})
	return counts, err
}

// silence is how long another process may say nothing that prepares the same data.
const silence = 5 * time.Minute

// openPrepared is the source of what documents became, which are made into ids if they are not yet.
func openPrepared(c Config, progress func(what string, done, all int64)) (*Source, error) {
	s, err := openCorpus(c)
	if err != nil {
		return nil, err
	}
	cache, err := c.cache()
	if err != nil {
		return nil, err
	}
	signature, err := s.signature()
	if err != nil {
		return nil, s.files.failed(err)
	}
	known := filepath.Join(cache, signature+".json") // the fingerprint of files that are as they were
	if folder, made, err := recall(cache, known); err == nil {
		return s.source(folder, made)
	}
	if err := os.MkdirAll(cache, 0o777); err != nil {
		return nil, fmt.Errorf("data: training.dataset_cache = %q: %w", cache, err)
	}
	var folder string
	var made manifest
	err = locked(filepath.Join(cache, signature+".lock"), silence, func(tell func(string)) (err error) {
		if folder, made, err = recall(cache, known); err == nil { // another process has done it meanwhile
			return nil
		}
		fingerprint, err := s.fingerprint(said("read", tell, progress))
		if err != nil {
			return err
		}
		folder = filepath.Join(cache, fingerprint)
		return locked(folder+".lock", silence, func(tellToo func(string)) error {
			if readJSON(filepath.Join(folder, preparedName), &made) != nil { // no copy of the files was prepared
				both := func(text string) { tell(text); tellToo(text) }
				if made, err = s.build(folder, fingerprint, said("tokenised", both, progress)); err != nil {
					return err
				}
			}
			if now, err := s.signature(); err != nil || now != signature {
				return s.files.failed(cmp.Or(err, errors.New("files were changed while they were read; try again")))
			}
			return writeJSON(known, fingerprint)
		})
	})
	if err != nil {
		return nil, err
	}
	return s.source(folder, made)
}

// said tells progress to whoever waits, and to the caller.
func said(what string, tell func(string), progress func(what string, done, all int64)) func(done, all int64) {
	return func(done, all int64) {
		tell(fmt.Sprintf("%d of %d bytes %s", done, all, what))
		progress(what, done, all)
	}
}

// cache is the folder of what documents became.
func (c Config) cache() (string, error) {
	if c.Cache != "" {
		return c.Cache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("data: there is no cache folder (%w): set training.dataset_cache", err)
	}
	return filepath.Join(dir, "octet"), nil
}

// recall finds prepared data by a file that has its fingerprint.
func recall(cache, known string) (folder string, made manifest, err error) {
	var fingerprint string
	if err := readJSON(known, &fingerprint); err != nil {
		return "", made, err
	}
	folder = filepath.Join(cache, filepath.Base(fingerprint))
	err = readJSON(filepath.Join(folder, preparedName), &made)
	if err == nil && (made.Version != preparedVersion || made.Fingerprint != fingerprint) {
		err = fmt.Errorf("%s: of another version", folder)
	}
	return folder, made, err
}

// source reads the ids of the side that the configuration asks for.
func (s *corpus) source(folder string, of manifest) (*Source, error) {
	side := Training
	if len(s.sides()) > 1 && s.c.Section == Validation {
		side = Validation
	}
	count := of.of(side)
	src := &Source{root: s.files.root, vocab: s.c.VocabSize, dataset: s.c.Dataset, field: s.files.field, leftOut: s.files.leftOut,
		made: &made{of.Fingerprint, count.Documents}}
	if src.leftOut.empty = of.Empty; s.options.Format == documents.Text {
		src.leftOut.noText = of.Broken
	} else {
		src.leftOut.broken = of.Broken
	}
	find := listing{keep: tokenFiles, hidden: true}
	err := find.list(filepath.Join(folder, string(side)))
	src.files = find.files
	if err == nil && len(src.files) == 0 {
		err = fmt.Errorf("no document for %s%v", side, src.leftOut)
	}
	if err == nil {
		err = src.index(true)
	}
	if err == nil && src.Len() != count.Tokens {
		err = fmt.Errorf("%s holds %d tokens, but had %d when it was made: remove it", folder, src.Len(), count.Tokens)
	}
	if err != nil {
		return nil, src.failed(err)
	}
	return src, nil
}
