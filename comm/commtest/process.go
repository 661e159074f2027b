// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Process is a rank of a test that is a process of its own: the test's binary, run again
// with variables that its TestMain knows. What it prints on either stream is kept.
type Process struct {
	*exec.Cmd
	Working <-chan struct{} // closed when the rank first prints "working"

	mu      sync.Mutex
	out     bytes.Buffer
	working chan struct{}
}

// Start starts a rank with variables beside those of this process. The test's end kills it.
func Start(t testing.TB, environ ...string) *Process {
	t.Helper()
	p := &Process{Cmd: exec.Command(os.Args[0]), working: make(chan struct{})}
	p.Working, p.Stdout, p.Stderr = p.working, p, p
	p.Env = append(os.Environ(), environ...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // it may have ended
	return p
}

// Write takes the process's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	if bytes.Contains(b, []byte("working")) {
		select {
		case <-p.working:
		default:
			close(p.working)
		}
	}
	return len(b), nil
}

// Output is what the rank has printed.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// Failure is what the rank said when it ended, after "error: ".
func (p *Process) Failure() string {
	_, text, _ := strings.Cut(p.Output(), "error: ")
	return strings.TrimSpace(text)
}
