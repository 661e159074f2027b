// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/host"
	"octet/comm/store"
	"octet/device/cuda"
	"octet/dtype"
	"octet/internal/auth"
	"octet/nccl"
)

// What a rank that is a process of its own is told.
const (
	envScenario = "OCTET_NCCL_TEST_SCENARIO"
	envRank     = "OCTET_NCCL_TEST_RANK"
	envStore    = "OCTET_NCCL_TEST_STORE"
)

// processes is how many there are, workTimeout how long those at work wait for one another.
const (
	processes   = 3
	workTimeout = 2 * time.Second
)

// scenarios are what the ranks do after they have connected.
var scenarios = map[string]func(e *commtest.Env) error{
	"conformance": func(e *commtest.Env) error {
		for _, c := range slices.Concat(commtest.Results(), commtest.Splits()) {
			if c.Name == "many small calls" {
				continue // a message takes a way through three processes each
			}
			if err := c.Run(e); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		return nil
	},
	// work goes on until something happens to a rank.
	"work": func(e *commtest.Env) error {
		x := e.New(dtype.Float32, 1000)
		for {
			e.AllReduce(e.Stream, comm.T(x), comm.Sum)
			if err := e.Stream.Sync(); err != nil {
				return err
			}
			e.Comm.(comm.Control).SetTimeout(workTimeout)
			fmt.Println("working")
		}
	},
}

var storeID = auth.Identity{Job: "test", Service: store.Service, Secret: auth.Public()}

// rankMain is the main function of a rank.
func rankMain() int {
	err := func() error {
		rank, err := strconv.Atoi(os.Getenv(envRank))
		if err != nil {
			return err
		}
		ctx := context.Background()
		client, err := store.Dial(ctx, os.Getenv(envStore), storeID)
		if err != nil {
			return err
		}
		control, err := host.Control(ctx, host.Config{Rank: rank, World: processes, Store: client, Timeout: time.Minute})
		if err != nil {
			return err
		}
		ordinal := rank
		if oneGPU() {
			ordinal = 0
		}
		dev, err := cuda.Open(cuda.Options{Ordinal: ordinal})
		if err != nil {
			return err
		}
		c, err := nccl.Connect(dev, control, nccl.Options{})
		if err != nil {
			return err
		}
		e := commtest.NewEnv(commtest.Rank{Comm: c, Device: dev}, promises)
		if err := scenarios[os.Getenv(envScenario)](e); err != nil {
			return err
		}
		e.Close()
		if err := c.(io.Closer).Close(); err != nil {
			return err
		}
		return dev.Close()
	}()
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// start runs a scenario.
func start(t *testing.T, scenario string) []*commtest.Process {
	t.Helper()
	if !onHardware() {
		simulate(t)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := store.Serve(ln, storeID)
	t.Cleanup(func() { server.Close() })
	ranks := make([]*commtest.Process, processes)
	for i := range ranks {
		ranks[i] = commtest.Start(t, envScenario+"="+scenario, envRank+"="+strconv.Itoa(i), envStore+"="+ln.Addr().String())
	}
	return ranks
}

func TestProcesses(t *testing.T) {
	for i, r := range start(t, "conformance") {
		if err := r.Wait(); err != nil {
			t.Errorf("rank %d: %v: %s", i, err, r.Output())
		}
	}
}

// TestALostRankIsNamed: the others are told at once that one is gone, and at the deadline
// that one does not answer; NCCL lets go of their streams.
func TestALostRankIsNamed(t *testing.T) { namesALostRank(t) }

func namesALostRank(t *testing.T) {
	t.Helper()
	for _, tt := range []struct {
		signal syscall.Signal
		want   string
	}{
		{syscall.SIGKILL, "rank 1 (pid %d) is gone"},
		{syscall.SIGSTOP, `of group "world" (4000 bytes): rank 1 has not answered after 2s; arrived: 0, 2`},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			ranks := start(t, "work")
			for _, r := range ranks {
				<-r.Working
			}
			if err := ranks[1].Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(tt.want, "%d", strconv.Itoa(ranks[1].Process.Pid))
			for _, i := range []int{0, 2} {
				ranks[i].Wait()
				if text := ranks[i].Output(); !strings.Contains(text, want) {
					t.Errorf("rank %d: %s, want %q", i, text[max(0, len(text)-500):], want)
				}
			}
		})
	}
}
