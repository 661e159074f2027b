// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"octet/internal/durable"
)

// errorFileVar names the file in which a worker leaves the reason of its failure.
const errorFileVar = "TORCHELASTIC_ERROR_FILE"

// Failure is what a worker said about its own failure.
type Failure struct {
	Message string
	// Victim says that the worker failed because another rank did.
	Victim bool
	// At is when the worker left its reason; zero if there is none.
	At time.Time
}

// errorFile is the file's JSON, as torch.distributed.elastic writes it; its
// "message" may also be a plain string.
type errorFile struct {
	Message json.RawMessage `json:"message"`
}

type errorMessage struct {
	Message   string    `json:"message"`
	ExtraInfo extraInfo `json:"extraInfo"`
}

type extraInfo struct {
	PyCallstack string `json:"py_callstack"`
	Timestamp   string `json:"timestamp"` // unix seconds
	Victim      bool   `json:"victim,omitempty"`
}

// Victim marks err as the consequence of another rank's failure: the launcher
// looks for the root cause elsewhere first.
func Victim(err error) error { return victimError{err} }

type victimError struct{ error }

func (e victimError) Unwrap() error { return e.error }
func (e victimError) Victim() bool  { return true }

// WriteErrorFile leaves the reason of this worker's failure for the launcher, in
// the file that TORCHELASTIC_ERROR_FILE names; without that variable it does
// nothing. It notes whether an error in the chain has a method Victim() bool that
// returns true: those of Victim, and any that knows it by itself.
func WriteErrorFile(failure error) error {
	path := os.Getenv(errorFileVar)
	if path == "" {
		return nil
	}
	var v interface{ Victim() bool }
	text, err := json.Marshal(map[string]errorMessage{"message": {failure.Error(), extraInfo{
		Timestamp: strconv.FormatInt(time.Now().Unix(), 10), Victim: errors.As(failure, &v) && v.Victim(),
	}}})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = durable.Text(path, text)
	}
	if err != nil {
		return fmt.Errorf("launcher: error file: %w", err)
	}
	return nil
}

// ReadErrorFile returns what a worker left at path; an empty Failure if there is
// nothing, or nothing readable: a worker that crashes may leave anything.
func ReadErrorFile(path string) Failure {
	text, err := os.ReadFile(path)
	if err != nil {
		return Failure{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return Failure{}
	}
	f, stamp := parseErrorFile(text)
	if f.Message != "" {
		f.At = writtenAt(info.ModTime(), stamp)
	}
	return f
}

// parseErrorFile returns the failure and its timestamp, "" where there is none.
func parseErrorFile(text []byte) (Failure, string) {
	var f errorFile
	if json.Unmarshal(text, &f) != nil {
		return Failure{}, ""
	}
	var m errorMessage
	if json.Unmarshal(f.Message, &m) == nil {
		return Failure{Message: m.Message, Victim: m.ExtraInfo.Victim}, m.ExtraInfo.Timestamp
	}
	var plain string
	_ = json.Unmarshal(f.Message, &plain)
	return Failure{Message: plain}, ""
}

// writtenAt is when an error file was written. Its timestamp is of this host but
// has whole seconds; the file system tells the fraction, by a clock that is
// another host's where the directory is mounted from there.
func writtenAt(modified time.Time, stamp string) time.Time {
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return modified
	}
	if d := modified.Sub(time.Unix(seconds, 0)); d < 0 || d > 2*time.Second {
		return time.Unix(seconds, 0)
	}
	return modified
}
