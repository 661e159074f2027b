// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestAlone(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), func(string) string { return "" }, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "1 ranks, sum 1\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestThreeRanksWithTorchrunsVariables(t *testing.T) {
	const world = 3
	port := freePort(t)
	var out strings.Builder
	var wg sync.WaitGroup
	for rank := range world {
		env := map[string]string{
			"RANK": strconv.Itoa(rank), "LOCAL_RANK": strconv.Itoa(rank), "WORLD_SIZE": strconv.Itoa(world), "LOCAL_WORLD_SIZE": strconv.Itoa(world),
			"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OCTET_JOB_TOKEN": "a token of the test",
		}
		print := io.Discard
		if rank == 0 {
			print = &out
		}
		wg.Go(func() {
			if err := run(t.Context(), func(key string) string { return env[key] }, print); err != nil {
				t.Errorf("rank %d: %v", rank, err)
			}
		})
	}
	wg.Wait()
	if got, want := out.String(), "3 ranks, sum 3\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

// freePort is a port that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
