// SPDX-License-Identifier: Apache-2.0

package torch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
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
