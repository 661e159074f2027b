// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"bufio"
	"fmt"
	"os"
	"sync"
)

// trace is a file with a line of each call of the driver: OCTET_CUDA_TRACE names it. A rank
// adds to what others write.
type trace struct {
	mu   sync.Mutex
	file *os.File
	w    *bufio.Writer
}

func openTrace(path string) (*trace, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("OCTET_CUDA_TRACE: %w", err)
	}
	return &trace{file: f, w: bufio.NewWriter(f)}, nil
}

// line is as "cuMemAlloc_v2 0 [4096]": the call, its result, the arguments that are no pointers.
func (t *trace) line(call string, result int, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.w, call, result, args)
	if result != 0 {
		t.w.Flush()
	}
}

func (t *trace) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.w.Flush(); err != nil {
		return err
	}
	return t.file.Close()
}
