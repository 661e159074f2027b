// SPDX-License-Identifier: Apache-2.0

package torch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pythonVar names a Python that has torch and, beside it, torchrun.
const pythonVar = "OCTET_TORCH_PYTHON"

// limit is how long a program may take: importing torch on a cold disk is most of it.
const limit = 3 * time.Minute

// torch is the interpreter.
func torch(t *testing.T) string {
	t.Helper()
	python := os.Getenv(pythonVar)
	if python == "" {
		t.Skipf("needs PyTorch: set %s to a Python that has it, or run `make test-torch`", pythonVar)
	}
	return python
}

// octet is the launcher, built once.
var octet = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "octet-test-torch-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "octet")
	out, err := exec.Command("go", "build", "-o", path, "octet/cmd/octet").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(pythonVar) != "" {
		if path, err := octet(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// done is how a program ended.
type done struct {
	code           int
	stdout, stderr string
}

// run runs a program in testdata to its end.
func run(t *testing.T, env []string, argv ...string) done {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "testdata"
	cmd.Env = append(append(os.Environ(), "OMP_NUM_THREADS=1", "PYTHONPATH=."), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s: not ended after %v\n%s", strings.Join(argv, " "), limit, stderr.String())
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return done{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// launch is the command that starts ranks, of torchrun or octet.
func launch(t *testing.T, launcher string) []string {
	t.Helper()
	if launcher == "torchrun" {
		return []string{filepath.Join(filepath.Dir(torch(t)), launcher)}
	}
	path, err := octet()
	if err != nil {
		t.Fatal(err)
	}
	return []string{path, "run"}
}
