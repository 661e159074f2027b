// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"errors"
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

	"octet/backend"
	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/host"
	"octet/comm/store"
	"octet/dtype"
	"octet/internal/arena"
	"octet/internal/auth"
	"octet/test/ranks"
)

// What a rank that is a process of its own is told.
const (
	envScenario = "OCTET_HOST_TEST_SCENARIO"
	envRank     = "OCTET_HOST_TEST_RANK"
	envWorld    = "OCTET_HOST_TEST_WORLD"
	envStore    = "OCTET_HOST_TEST_STORE"
	envHost     = "OCTET_HOST_TEST_HOST"
)

// workTimeout is how long ranks at work wait for one another. It is longer than a
// busy machine keeps a process waiting.
const workTimeout = 2 * time.Second

// scenarios are what the ranks do after they have connected.
var scenarios = map[string]func(e *commtest.Env) error{
	"conformance": func(e *commtest.Env) error {
		for _, c := range slices.Concat(commtest.Results(), commtest.Splits()) {
			if err := c.Run(e); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		return nil
	},
	// work goes on until something happens to a rank.
	"work": func(e *commtest.Env) error {
		x := e.New(dtype.Float32, 100_000)
		for {
			for range 10 {
				e.AllReduce(e.Stream, comm.T(x), comm.Sum)
			}
			if err := e.Stream.Sync(); err != nil {
				return err
			}
			e.Comm.(comm.Control).SetTimeout(workTimeout)
			fmt.Println("working")
		}
	},
	"abort": func(e *commtest.Env) error {
		e.Barrier(e.Stream)
		if e.Rank() == 1 {
			e.Stream.Sync()
			e.Abort(errors.New("loss is NaN"))
			return errors.New("aborted by myself")
		}
		e.Barrier(e.Stream)
		return e.Stream.Sync()
	},
}

// rankMain is the main function of a rank.
func rankMain() int {
	err := func() error {
		rank, _ := strconv.Atoi(os.Getenv(envRank))
		world, _ := strconv.Atoi(os.Getenv(envWorld))
		dev, err := backend.OpenDevice(backend.Options{Device: os.Getenv(ranks.DeviceVar)})
		if err != nil {
			return err
		}
		c, err := join(os.Getenv(envStore), rank, world, os.Getenv(envHost), dev.Arena)
		if err != nil {
			return err
		}
		e := commtest.NewEnv(commtest.Rank{Comm: c, Device: dev}, commtest.Promises{})
		if name, ok := strings.CutPrefix(os.Getenv(envScenario), "bench "); ok {
			commtest.Follow(e, name)
			return nil
		}
		if err := scenarios[os.Getenv(envScenario)](e); err != nil {
			return err
		}
		e.Close()
		return c.(io.Closer).Close()
	}()
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// start runs a scenario in world processes.
func start(t *testing.T, scenario string, world int, hostOf func(int) string) []*commtest.Process {
	t.Helper()
	addr := serve(t)
	ranks := make([]*commtest.Process, world)
	for i := range ranks {
		ranks[i] = spawn(t, scenario, addr, i, world, hostOf(i))
	}
	return ranks
}

// startBeside runs a scenario in a process that is rank 1 and connects this
// one as rank 0.
func startBeside(b *testing.B, benchmark string, hostOf func(int) string) (commtest.Rank, *commtest.Process) {
	b.Helper()
	addr := serve(b)
	other := spawn(b, "bench "+benchmark, addr, 1, 2, hostOf(1))
	dev := sharedDevice(b)
	c, err := join(addr, 0, 2, hostOf(0), dev.Arena)
	if err != nil {
		b.Fatal(err)
	}
	return commtest.Rank{Comm: c, Device: dev}, other
}

// serve starts the store.
func serve(t testing.TB) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := store.Serve(ln, storeID)
	t.Cleanup(func() { server.Close() })
	return ln.Addr().String()
}

// spawn starts one rank.
func spawn(t testing.TB, scenario, addr string, i, world int, hostID string) *commtest.Process {
	t.Helper()
	return commtest.Start(t, envScenario+"="+scenario, envRank+"="+strconv.Itoa(i),
		envWorld+"="+strconv.Itoa(world), envStore+"="+addr, envHost+"="+hostID)
}

// storeID is who the ranks are to the store.
var storeID = auth.Identity{Job: "test", Service: store.Service, Secret: auth.Public()}

// join connects a rank.
func join(addr string, rank, world int, hostID string, memory *arena.Arena) (comm.Comm, error) {
	ctx := context.Background()
	client, err := store.Dial(ctx, addr, storeID)
	if err != nil {
		return nil, err
	}
	return host.Connect(ctx, host.Config{
		Rank: rank, World: world, Store: client, HostID: hostID, Address: "127.0.0.1", Secret: auth.Public(), Arena: memory,
	})
}

var layouts = []struct {
	name   string
	world  int
	hostOf func(int) string
}{
	{"shared memory", 2, sharedMemory},
	{"tcp", 2, tcp},
	{"mixed", 4, pairs},
}

func TestProcesses(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			for i, r := range start(t, "conformance", l.world, l.hostOf) {
				if err := r.Wait(); err != nil {
					t.Errorf("rank %d: %v: %s", i, err, r.Output())
				}
			}
		})
	}
}

// signaled starts the ranks of every layout, sends each rank 1 a signal in the
// middle of its work and returns the ranks when the others have ended.
func signaled(t *testing.T, sig syscall.Signal) (byLayout [][]*commtest.Process) {
	t.Helper()
	for _, l := range layouts {
		byLayout = append(byLayout, start(t, "work", l.world, l.hostOf))
	}
	for _, ranks := range byLayout {
		for _, r := range ranks {
			<-r.Working
		}
		if err := ranks[1].Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	for _, ranks := range byLayout {
		for i, r := range ranks {
			if i != 1 {
				r.Wait() // fails; what it says is in failure
			}
		}
		ranks[1].Process.Kill()
		ranks[1].Wait()
	}
	return byLayout
}

// TestKilledRank: a SIGKILLed rank is found dead, not late.
func TestKilledRank(t *testing.T) {
	for l, ranks := range signaled(t, syscall.SIGKILL) {
		want := fmt.Sprintf("rank 1 (pid %d", ranks[1].Process.Pid)
		for i, r := range ranks {
			if text := r.Failure(); i != 1 && (!strings.Contains(text, want) || !strings.HasSuffix(text, "is gone")) {
				t.Errorf("%s: rank %d: %q, want it to name %q as gone", layouts[l].name, i, text, want)
			}
		}
	}
}

// TestStoppedRank: a rank that stops answering is named at the deadline, and no other
// one, also where hosts of several ranks do a call together and most ranks wait for
// ranks that wait themselves.
func TestStoppedRank(t *testing.T) {
	t.Parallel()
	for l, ranks := range signaled(t, syscall.SIGSTOP) {
		const want = ": rank 1 has "
		for i, r := range ranks {
			if text := r.Failure(); i != 1 && (!strings.Contains(text, want) || !strings.Contains(text, "after 2s; arrived: ")) {
				t.Errorf("%s: rank %d: %q, want it to name rank 1 after 2s", layouts[l].name, i, text)
			}
		}
	}
}

// TestAbortAcrossProcesses: the cause reaches all ranks as text.
func TestAbortAcrossProcesses(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			for i, r := range start(t, "abort", l.world, l.hostOf) {
				r.Wait()
				want := "aborted by rank 1: loss is NaN"
				if i == 1 {
					want = "aborted by myself"
				}
				if text := r.Failure(); !strings.Contains(text, want) {
					t.Errorf("rank %d: %q, want %q", i, text, want)
				}
			}
		})
	}
}
