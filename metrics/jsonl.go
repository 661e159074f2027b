// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// FileName is the file in job.dump_folder that has every step.
const FileName = "metrics.jsonl"

// JSONL writes one JSON object a line for each step. A line reaches the file before Step returns, unless the file cannot be written: then
// the lines wait, and every Step and Close tries again.
type JSONL struct {
	file    File
	say     func(string)
	waiting []byte // lines that are not written
	failed  bool   // the last write
	err     error  // a record that is no JSON
}

// File is what a JSONL writes to, an os.File.
type File interface {
	io.WriteCloser
	Name() string
	Sync() error
}

var _ Sink = (*JSONL)(nil)

// NewJSONL returns a Sink that writes to file, and closes it. When writing begins to fail, or succeeds again, it says so.
func NewJSONL(file File, say func(string)) *JSONL { return &JSONL{file: file, say: say} }

// Step appends a line.
func (j *JSONL) Step(r Record) {
	line, err := json.Marshal(r)
	if err != nil {
		j.err = errors.Join(j.err, err)
		return
	}
	j.waiting = append(append(j.waiting, line...), '\n')
	if err := j.write(); err != nil && !j.failed {
		j.say(fmt.Sprintf("metrics: %v; the steps are kept, and written when that works again", err))
		j.failed = true
	} else if err == nil && j.failed {
		j.say(fmt.Sprintf("metrics: %s is written again, and complete", j.file.Name()))
		j.failed = false
	}
}

func (j *JSONL) write() error {
	n, err := j.file.Write(j.waiting)
	j.waiting = append(j.waiting[:0], j.waiting[n:]...)
	return err
}

// Close writes what waits. Its error says what is lost.
func (j *JSONL) Close() error {
	err := j.err
	if len(j.waiting) > 0 {
		if e := j.write(); e != nil {
			err = errors.Join(err, fmt.Errorf("%w: the last %d steps are not in the file", e, bytes.Count(j.waiting, []byte("\n"))))
		}
	}
	if err := errors.Join(err, j.file.Sync(), j.file.Close()); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Read gives the records that a JSONL wrote to a file. A last line without its end, as a killed run may leave, is
// dropped; an error names the line.
func Read(path string) ([]Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer file.Close()
	var records []Record
	for in := bufio.NewReader(file); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		var r Record
		if err == nil {
			err = json.Unmarshal(line, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("metrics: %s:%d: %w", path, len(records)+1, err)
		}
		records = append(records, r)
	}
}
