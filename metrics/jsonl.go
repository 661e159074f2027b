// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FileName is the file in job.dump_folder that has every step.
const FileName = "metrics.jsonl"

// JSONL writes one JSON object a line for each step. A line reaches the file before Step returns.
type JSONL struct {
	file *os.File
	err  error
}

var _ Sink = (*JSONL)(nil)

// CreateJSONL makes the file, and its folder where needed. A file of an earlier run is emptied.
func CreateJSONL(path string) (*JSONL, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &JSONL{file: file}, nil
}

// Step appends a line; after an error, nothing.
func (j *JSONL) Step(r Record) {
	if j.err != nil {
		return
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	j.err = err
}

// Close returns the first error of any Step.
func (j *JSONL) Close() error {
	if err := errors.Join(j.err, j.file.Close()); err != nil {
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
