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

// JSONL writes one JSON object a line for each step, by an Appender.
type JSONL struct {
	file *Appender
	err  error // a record that is no JSON
}

var _ Sink = (*JSONL)(nil)

// NewJSONL returns a Sink that writes to file, and closes it. When writing begins to fail, or succeeds again, it says so.
func NewJSONL(file File, say func(string)) *JSONL { return &JSONL{file: NewAppender(file, say)} }

// Step appends a line.
func (j *JSONL) Step(r Record) {
	line, err := json.Marshal(r)
	if err != nil {
		j.err = errors.Join(j.err, err)
		return
	}
	j.file.Append(append(line, '\n'))
}

// Close writes what waits. Its error says what is lost.
func (j *JSONL) Close() error {
	lost, err := j.file.Close()
	if n := bytes.Count(lost, []byte("\n")); n > 0 {
		err = fmt.Errorf("%w: the last %d steps are not in the file", err, n)
	}
	if err := errors.Join(j.err, err); err != nil {
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
