// SPDX-License-Identifier: Apache-2.0

// Package data feeds training: it makes batches of token ids out of files, the same ones whatever the number of ranks.
//
// A data set is one long row of ids, addressed by position ([Source]). It is cut into windows of seq_len ids; the samples of a run are
// numbered 0, 1, 2, … over all steps and ranks, and a sample's number says which window it is. Every rank computes the numbers of its own
// part of each batch and reads only that ([Loader]). So the place in the data is one number, [Loader.Position], on however many ranks.
//
//	gosource   the .go files of Go's own source tree, or of the folder at Path; one file in a hundred is kept for validation
//	text       a file, or the files of a folder; a zero byte stands between two files. Files and folders whose names begin with a
//	           dot are left out and counted, and so are files that are not UTF-8 or have a zero byte in them
//	jsonl      a text a line, or compressed lines, and
//	parquet    a text a row: documents, read by package documents
//	tokens     raw little-endian ids, 2 bytes (.u16) or 4 (.u32), a file or a folder of them
//
// A link is the file or folder that it points to. Of gosource and text the ids are the bytes, read where they lie, unless a tokenizer is named: then
// they, and the others always, become ids once, in a folder that later runs find again ([Prepare]). The windows come in a random order that
// depends on the seed; those of tokens come in the order of the file. Each comes once an epoch, and then the next epoch begins.
// [Check] and [Source.Scan] find what could not be read before training begins, and [Source.Fingerprint] tells two data sets apart.
package data

import (
	"cmp"
	"fmt"
)

// Section is a section of the user's configuration that names data.
type Section string

// The sections.
const (
	Training   Section = "training"
	Validation Section = "validation"
)

// Config says what to read, and which part of it.
type Config struct {
	Section    Section // names fields in messages, and decides which files of gosource are read; empty is Training
	Dataset    string  // gosource, text, jsonl, parquet or tokens
	Path       string  // file or folder; empty for gosource: the source tree of the Go that is installed
	SeqLen     int     // ids in a window
	LocalBatch int     // windows in a batch of one rank
	Rank       int     // of this process among those that read different data
	Ranks      int     // that read different data
	VocabSize  int     // of the model: every id must be below it
	Seed       uint64  // of the order of windows

	Assets     string  // folder of the tokenizer; empty: the ids of documents are bytes
	Field      string  // of the text, in jsonl and parquet; empty is text
	SkipBroken bool    // leave out lines of jsonl that have no text, and count them
	Fraction   float64 // of the documents that are kept for validation; of text, of the files
	Cache      string  // folder of what documents became; empty: octet in the user's cache folder
}

// field is the name of a field of the user's configuration.
func (c Config) field(name string) string {
	return fmt.Sprintf("%s.%s", cmp.Or(c.Section, Training), name)
}

// Open finds the data and checks that at least one window is there.
func Open(c Config) (*Loader, error) {
	if c.SeqLen < 1 || c.LocalBatch < 1 || c.Rank < 0 || c.Rank >= c.Ranks {
		panic(fmt.Sprintf("data: batch of %d windows of %d for rank %d of %d", c.LocalBatch, c.SeqLen, c.Rank, c.Ranks))
	}
	source, err := OpenSource(c)
	if err != nil {
		return nil, err
	}
	return load(c, source)
}

// load makes windows of a source that has at least one.
func load(c Config, source *Source) (*Loader, error) {
	if source.Len() <= int64(c.SeqLen) {
		return nil, fmt.Errorf("data: %s = %s holds %d tokens, too few for one window of %s = %d and the token after it",
			c.field("dataset_path"), source, source.Len(), c.field("seq_len"), c.SeqLen)
	}
	return newLoader(c, source), nil
}
