// SPDX-License-Identifier: Apache-2.0

package torch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPrograms: what a PyTorch program prints under octet run is what it prints
// under torchrun, rank by rank, and where all goes well so is the exit code. Where
// a rank fails, torchrun ends with 1 and octet with the rank's own code.
func TestPrograms(t *testing.T) {
	tests := []struct {
		name string
		args []string // of the launcher, the program included
		code int      // octet's
		// said is in octet's output, beside what torchrun has as well.
		said string
	}{
		{name: "objects gathered, scattered and sent", args: []string{"objects.py"}},
		{name: "DDP", args: []string{"ddp.py"}},
		{name: "FSDP2", args: []string{"fsdp2.py"}},
		{name: "DTensor on a mesh of two dimensions", args: []string{"--nproc-per-node=4", "mesh.py"}},
		{name: "a module", args: []string{"-m", "objects"}},
		{name: "arguments of the program", args: []string{"args.py", "--nproc-per-node", "7", "-m", "x y"}},
		{name: "no Python before the program", args: []string{"--no-python", "sh", "-c", "echo rank $RANK of $WORLD_SIZE in $GROUP_RANK"}},
		{name: "a rank that exits with 3", args: []string{"exits.py", "1", "3"}, code: 3, said: "rank 1"},
		{name: "an exception under @record", args: []string{"record.py"}, code: 1, said: "ValueError: the loss of rank 1 is NaN"},
		{name: "a rank that is killed", args: []string{"exits.py", "1", "-9"}, code: 137, said: "SIGKILL"},
		{name: "all exit with 0, one early", args: []string{"exits.py", "1", "0"}},
	}
	torchrun, octet := filepath.Join(filepath.Dir(torch(t)), "torchrun"), build(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			theirs, ours := start(t, tt.args, torchrun), start(t, tt.args, octet, "run")
			if ours.stdout != theirs.stdout {
				t.Errorf("ranks printed under octet\n%s\nunder torchrun\n%s", ours.stdout, theirs.stdout)
			}
			if ours.code != tt.code || (ours.code == 0) != (theirs.code == 0) {
				t.Errorf("octet's exit code is %d, want %d; torchrun's is %d", ours.code, tt.code, theirs.code)
			}
			if !strings.Contains(ours.stderr, tt.said) {
				t.Errorf("octet did not say %q", tt.said)
			}
			if t.Failed() {
				t.Logf("octet:\n%s\ntorchrun:\n%s", ours.stderr, theirs.stderr)
			}
		})
	}
}

// TestASecondAttempt: init, all-reduce, new_group and object gather, twice; the second
// attempt finds no key of the first. Under torchrun it does, and at times the address
// of a rank that is dead.
func TestASecondAttempt(t *testing.T) {
	d := start(t, []string{"--max-restarts=1", "gloo.py"}, build(t), "run")
	var want strings.Builder
	for attempt := range 2 {
		for rank := range 2 {
			fmt.Fprintf(&want, "attempt_%d rank %d:\nrank %d: sum 3.0, gathered [0, 1], old key: False\n", attempt, rank, rank)
		}
	}
	if d.code != 0 || d.stdout != want.String() {
		t.Errorf("exit code %d, ranks printed\n%s\nwant\n%s\n%s", d.code, d.stdout, want.String(), d.stderr)
	}
}

// build builds octet and returns its path.
func build(t *testing.T) string {
	t.Helper()
	torch(t) // without it there is no use for octet
	path := filepath.Join(t.TempDir(), "octet")
	if out, err := exec.Command("go", "build", "-o", path, "octet/cmd/octet").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// start runs two ranks under a launcher; what they print is in stdout.
func start(t *testing.T, args []string, launcher ...string) done {
	t.Helper()
	logs := t.TempDir()
	flags := []string{"--nproc-per-node=2", "--log-dir=" + logs, "--redirects=1"}
	d := run(t, []string{"PYTHON_EXEC=" + torch(t)}, slices.Concat(launcher, flags, args)...)
	d.stdout = printed(t, logs)
	return d
}

// printed is what the ranks wrote to stdout, in the order of attempts and ranks,
// from a folder of logs, which both launchers lay out alike.
func printed(t *testing.T, logs string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(logs, "*", "attempt_*", "*", "stdout.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stdout.log below %s (%v)", logs, err)
	}
	slices.Sort(files)
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(f, string(filepath.Separator))
		all.WriteString(strings.Join(parts[len(parts)-3:len(parts)-1], " rank ") + ":\n" + string(text))
	}
	return all.String()
}
