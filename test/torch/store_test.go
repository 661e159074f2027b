// SPDX-License-Identifier: Apache-2.0

package torch

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"octet/comm/store"
	"octet/internal/auth"
)

// TestStoreAnswersAsPyTorchs: a client of PyTorch makes every request that it can;
// octet's server gives it what PyTorch's own gives.
func TestStoreAnswersAsPyTorchs(t *testing.T) {
	python := torch(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := store.ServeAnyone(ln)
	defer server.Close()
	theirs := run(t, nil, python, "store.py", servePyTorchs(t, python))
	ours := run(t, nil, python, "store.py", ln.Addr().String())
	for _, d := range []done{theirs, ours} {
		if d.code != 0 {
			t.Fatalf("exit code %d\n%s%s", d.code, d.stdout, d.stderr)
		}
	}
	want, got := strings.Split(theirs.stdout, "\n"), strings.Split(ours.stdout, "\n")
	if len(want) < 40 {
		t.Errorf("PyTorch's client made only %d requests", len(want))
	}
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("line %d of\n%s\nis otherwise with PyTorch's server:\n%s", i+1, ours.stdout, theirs.stdout)
		}
	}
}

// TestOctetsRanksMeetInPyTorchsStore: torchrun's store serves octet's ranks, sealed
// values, counters, waits and deadlines included.
func TestOctetsRanksMeetInPyTorchsStore(t *testing.T) {
	addr := servePyTorchs(t, torch(t))
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	open := func(secret auth.Secret) store.Store {
		client, err := store.DialAnyone(ctx, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return store.Seal(client, auth.Identity{Job: "j", Service: store.Service, Secret: secret})
	}
	secret := auth.NewSecret()
	a, b, stranger := open(secret), open(secret), open(auth.NewSecret())
	go func() {
		time.Sleep(50 * time.Millisecond)
		if err := a.Set(ctx, "key", []byte("value\x00")); err != nil {
			t.Error(err)
		}
	}()
	if v, err := b.Get(ctx, "key"); err != nil || string(v) != "value\x00" {
		t.Errorf("got %q, %v", v, err)
	}
	if v, err := stranger.Get(ctx, "key"); err == nil {
		t.Errorf("a stranger's client takes %q for a member's value", v)
	}
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := b.Get(short, "absent"); err == nil || !strings.Contains(err.Error(), `"absent"`) {
		t.Errorf("a wait that ran out gave %v", err)
	}
	if v, err := b.Get(ctx, "key"); err != nil || string(v) != "value\x00" {
		t.Errorf("after that: %q, %v", v, err)
	}
}

// servePyTorchs starts PyTorch's own server and returns its address.
func servePyTorchs(t *testing.T, python string) string {
	t.Helper()
	cmd := exec.Command(python, "store.py", "--serve")
	cmd.Dir, cmd.Stderr = "testdata", os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe() // its end ends the server
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	var port int
	if _, err := fmt.Fscan(bufio.NewReader(out), &port); err != nil {
		t.Fatalf("PyTorch's server did not say its port: %v", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}
