// SPDX-License-Identifier: Apache-2.0

package durable_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"octet/internal/durable"
)

func TestAFailedWriteLeavesWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := durable.Text(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	err := durable.Write(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 3<<20)) // more than is kept back
		return errors.Join(err, full)
	})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "old" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
	folder := filepath.Join(dir, "none")
	if err := errors.Join(os.MkdirAll(filepath.Join(folder, "x"), 0o777), durable.Text(folder, nil)); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 2 {
		t.Errorf("left behind: %q", names)
	}
}

func TestWritersOfOnePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 20 {
				if err := durable.Text(path, []byte(strings.Repeat(fmt.Sprint(i), 5000))); err != nil {
					t.Error(err)
				}
				text, err := os.ReadFile(path)
				if err != nil || len(text) != 5000 || strings.Trim(string(text), string(text[:1])) != "" {
					t.Errorf("%d bytes, %v: not what one of them wrote", len(text), err)
				}
			}
		})
	}
	all.Wait()
	if err := durable.Folder(filepath.Dir(path)); err != nil {
		t.Error(err)
	}
}
