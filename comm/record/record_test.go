// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/host"
	"octet/comm/local"
	"octet/comm/record"
	"octet/comm/store"
	"octet/device/trace"
	"octet/dtype"
	"octet/internal/auth"
	"octet/tensor"
	"octet/test/ranks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	commtest.Run(t, []int{1, 2}, commtest.Suite{Open: func(t *testing.T, n int) []commtest.Rank {
		comms := local.New(n, local.Options{})
		for r := range comms {
			comms[r] = record.New(comms[r], &record.Log{Keep: r == 0})
		}
		return commtest.On(ranks.Device(t, ranks.Options{}), comms...)
	}})
}

// some are calls of every kind.
func some(e *commtest.Env) error {
	e.Comm.(comm.Control).SetName("fsdp")
	f32 := func(n int) *tensor.Tensor { return e.New(dtype.Float32, n) }
	f8 := func(n int) *tensor.Tensor { return e.New(dtype.Float8E4M3, n) }
	e.AllGather(e.Stream, comm.T(f8(2*e.Size()), f32(e.Size())), comm.T(f8(2), f32(1)))
	e.AllGather(e.Stream, comm.T(f32(0)), comm.T(f32(0)))
	e.ReduceScatter(e.Stream, comm.T(f32(3)), comm.T(f32(3*e.Size())), comm.Sum)
	e.AllReduce(e.Stream, comm.T(f32(5), f32(2)), comm.Max)
	e.Broadcast(e.Stream, e.New(dtype.BFloat16, 4), 1)
	e.AllToAll(e.Stream, comm.T(f8(e.Size()), f32(0)), comm.T(f8(e.Size()), f32(0)))
	child, err := e.Split(0, -e.Rank())
	if err != nil {
		return err
	}
	child.Barrier(e.Stream)
	child.AllReduce(e.Stream, comm.T(f32(1)), comm.Sum)
	e.Barrier(e.Stream)
	return e.Stream.Sync()
}

const written = `
fsdp #1 all-gather float8_e4m3fn[2] float32[1], 6 bytes
fsdp #2 all-gather float32[0], 0 bytes
fsdp #3 reduce-scatter sum float32[6], 24 bytes
fsdp #4 all-reduce max float32[5] float32[2], 28 bytes
fsdp #5 broadcast from 1 bfloat16[4], 8 bytes
fsdp #6 all-to-all float8_e4m3fn[2] float32[0], 2 bytes
world/0.0 #1 barrier
world/0.0 #2 all-reduce sum float32[1], 4 bytes
fsdp #7 barrier
`

// TestSameRecords: what is written down does not depend on the rank or on the
// implementation.
func TestSameRecords(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(t *testing.T) []comm.Comm
	}{
		{"local", func(*testing.T) []comm.Comm { return local.New(2, local.Options{}) }},
		{"shared memory", func(t *testing.T) []comm.Comm { return processes(t, "a", "a") }},
		{"tcp", func(t *testing.T) []comm.Comm { return processes(t, "a", "b") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			comms := tt.open(t)
			logs := make([]record.Log, len(comms))
			for r := range comms {
				logs[r].Keep = true
				comms[r] = record.New(comms[r], &logs[r])
			}
			for r, err := range commtest.Together(commtest.On(ranks.Device(t, ranks.Options{}), comms...), some) {
				if err != nil {
					t.Fatalf("rank %d: %v", r, err)
				}
			}
			for r := range comms {
				var b strings.Builder
				for _, c := range logs[r].Take() {
					fmt.Fprintln(&b, c)
				}
				if diff := cmp.Diff(strings.TrimSpace(written), strings.TrimSpace(b.String())); diff != "" {
					t.Errorf("rank %d (-want +got):\n%s", r, diff)
				}
				if err := comms[r].(comm.Control).Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func processes(t *testing.T, hosts ...string) []comm.Comm {
	mem := store.NewMemory()
	comms := make([]comm.Comm, len(hosts))
	var wg sync.WaitGroup
	for r, h := range hosts {
		wg.Go(func() {
			var err error
			comms[r], err = host.Connect(context.Background(), host.Config{
				Rank: r, World: len(hosts), Store: mem, HostID: h, Address: "127.0.0.1", Secret: auth.Public(),
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return comms
}

func TestCounts(t *testing.T) {
	var log record.Log
	c := record.New(local.New(1, local.Options{})[0], &log)
	e := commtest.NewEnv(commtest.Rank{Comm: c, Device: ranks.Device(t, ranks.Options{})}, commtest.Promises{})
	defer e.Close()
	f32, f8 := e.New(dtype.Float32, 8), e.New(dtype.Float8E4M3, 8)
	e.AllGather(e.Stream, comm.T(f8, f8, f32), comm.T(f8, f8, f32))
	e.AllReduce(e.Stream, comm.T(f32), comm.Max)
	e.AllReduce(e.Stream, comm.T(f32), comm.Max)
	e.Barrier(e.Stream)
	if err := e.Stream.Sync(); err != nil {
		t.Fatal(err)
	}
	want := []record.Total{
		{Kind: comm.AllGather, Type: dtype.Float32, Count: record.Count{Calls: 1, Bytes: 32}},
		{Kind: comm.AllGather, Type: dtype.Float8E4M3, Count: record.Count{Calls: 1, Bytes: 16}},
		{Kind: comm.AllReduce, Type: dtype.Float32, Count: record.Count{Calls: 2, Bytes: 64}},
		{Kind: comm.Barrier, Count: record.Count{Calls: 1}},
	}
	if diff := cmp.Diff(want, log.Totals()); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	if got := log.Bytes(); got != 0 {
		t.Errorf("%d bytes sent by a rank alone", got)
	}
	if got := log.Count(comm.AllReduce, dtype.Float32); got != (record.Count{Calls: 2, Bytes: 64}) {
		t.Errorf("all-reduce of float32: %+v", got)
	}
	if calls := log.Take(); calls != nil {
		t.Errorf("%v was kept", calls)
	}
}

// TestCopiedIsWhatIsNotInPlace: memory that is laid out for a collective is not
// copied within the rank.
func TestCopiedIsWhatIsNotInPlace(t *testing.T) {
	for _, tt := range []struct {
		ranks                             int
		gathered, scattered, swapped, all int64 // of 8 bytes a rank, not in place
	}{
		{1, 8, 8, 8, 0},
		{2, 8, 0, 8, 0},
		{3, 8, 0, 8, 0},
	} {
		comms := local.New(tt.ranks, local.Options{})
		errs := commtest.Together(commtest.On(ranks.Device(t, ranks.Options{}), comms...), func(e *commtest.Env) error {
			f32 := func(n int) *tensor.Tensor { return e.New(dtype.Float32, n) }
			log := &record.Log{}
			c := record.New(e.Comm, log)
			whole, apart := f32(2*e.Size()), f32(2)
			slot := whole.Rows(2*e.Rank(), 2*e.Rank()+2)
			c.AllGather(e.Stream, comm.T(whole, whole), comm.T(slot, slot))
			c.ReduceScatter(e.Stream, comm.T(slot), comm.T(whole), comm.Sum)
			c.AllReduce(e.Stream, comm.T(whole), comm.Sum)
			for k := range comm.Kinds {
				if n := log.Copied(k); n != 0 {
					return fmt.Errorf("%v in place: %d bytes copied", k, n)
				}
			}
			c.AllGather(e.Stream, comm.T(whole), comm.T(apart))
			c.ReduceScatter(e.Stream, comm.T(apart), comm.T(whole), comm.Sum)
			c.AllToAll(e.Stream, comm.T(f32(2*e.Size())), comm.T(whole))
			for k, want := range map[comm.Kind]int64{comm.AllGather: tt.gathered, comm.ReduceScatter: tt.scattered, comm.AllToAll: tt.swapped, comm.AllReduce: tt.all} {
				if n := log.Copied(k); n != want {
					return fmt.Errorf("%v: %d bytes copied, want %d", k, n, want)
				}
			}
			return e.Stream.Sync()
		})
		for r, err := range errs {
			if err != nil {
				t.Errorf("rank %d of %d: %v", r, tt.ranks, err)
			}
		}
	}
}

// TestCountingAllocatesNothing: it is always on.
func TestCountingAllocatesNothing(t *testing.T) {
	e := commtest.NewEnv(commtest.On(ranks.Device(t, ranks.Options{}), local.New(1, local.Options{})...)[0], commtest.Promises{})
	defer e.Close()
	list := comm.T(e.New(dtype.Float32, 8))
	calls := func(c comm.Comm) float64 {
		return testing.AllocsPerRun(100, func() {
			c.AllGather(e.Stream, list, list)
			c.AllReduce(e.Stream, list, comm.Sum)
			c.Barrier(e.Stream)
			e.Stream.Sync()
		})
	}
	if bare, recorded := calls(e.Comm), calls(record.New(e.Comm, &record.Log{})); recorded > bare {
		t.Errorf("three recorded calls allocate %v times, without the recorder %v", recorded, bare)
	}
}

// TestAloneNothingIsSent: the call counts, its bytes go nowhere.
func TestAloneNothingIsSent(t *testing.T) {
	for n, want := range map[int]int64{1: 0, 2: 40} {
		for _, err := range commtest.Together(commtest.On(ranks.Device(t, ranks.Options{}), local.New(n, local.Options{})...), func(e *commtest.Env) error {
			log := &record.Log{}
			c := record.New(e.Comm, log)
			c.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Sum)
			c.Broadcast(e.Stream, e.New(dtype.Float32, 2), 0)
			if calls := log.Count(comm.AllReduce, dtype.Float32).Calls; calls != 1 || log.Bytes() != want {
				t.Errorf("%d ranks: %d calls, %d bytes sent, want 1 and %d", n, calls, log.Bytes(), want)
			}
			return e.Stream.Sync()
		}) {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// TestATracedStreamHasItsCollectives, with group, number, types and bytes.
func TestATracedStreamHasItsCollectives(t *testing.T) {
	logs := []*trace.Log{{}, {}}
	dev := ranks.Device(t, ranks.Options{})
	group := commtest.On(dev, local.New(2, local.Options{})...)
	for r := range group {
		group[r].Comm, group[r].Device = record.New(group[r].Comm, &record.Log{}), trace.New(dev, logs[r])
		logs[r].Start()
	}
	for r, err := range commtest.Together(group, some) {
		if err != nil {
			t.Fatalf("rank %d: %v", r, err)
		}
	}
	const want = `
all-gather fsdp #1 2 ranks  [float8_e4m3fn[2] float32[1]] 6 bytes
all-gather fsdp #2 2 ranks  [float32[0]] 0 bytes
reduce-scatter fsdp #3 2 ranks sum [float32[6]] 24 bytes
all-reduce fsdp #4 2 ranks max [float32[5] float32[2]] 28 bytes
broadcast fsdp #5 2 ranks from 1 [bfloat16[4]] 8 bytes
all-to-all fsdp #6 2 ranks  [float8_e4m3fn[2] float32[0]] 2 bytes
barrier world/0.0 #1 2 ranks  [] 0 bytes
all-reduce world/0.0 #2 2 ranks sum [float32[1]] 4 bytes
barrier fsdp #7 2 ranks  [] 0 bytes
`
	for r, log := range logs {
		var b strings.Builder
		for _, s := range log.Stop() {
			if s.Kind == trace.Collective {
				fmt.Fprintf(&b, "%s %s #%d %d ranks %s %v %d bytes\n", s.Name, s.Group, s.Seq, s.Ranks, s.Of, s.Args, s.Bytes)
			}
		}
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(b.String())); diff != "" {
			t.Errorf("rank %d (-want +got):\n%s", r, diff)
		}
	}
}

// TestWhatACollectiveEnqueuesIsNotNotedBesideIt: a rank alone copies by a kernel.
func TestWhatACollectiveEnqueuesIsNotNotedBesideIt(t *testing.T) {
	log := &trace.Log{}
	e := commtest.NewEnv(commtest.Rank{Comm: record.New(local.New(1, local.Options{})[0], &record.Log{}), Device: trace.New(ranks.Device(t, ranks.Options{}), log)}, commtest.Promises{})
	defer e.Close()
	dst, src := e.New(dtype.Float32, 8), e.New(dtype.Float32, 8)
	log.Start()
	e.AllGather(e.Stream, comm.T(dst), comm.T(src))
	if err := e.Stream.Sync(); err != nil {
		t.Fatal(err)
	}
	if spans := log.Stop(); len(spans) != 1 || spans[0].Kind != trace.Collective {
		t.Errorf("noted %+v, want the collective alone", spans)
	}
}

// TestCallsOfAGraphAreCounted: as often as it is launched, and not for having been written down.
func TestCallsOfAGraphAreCounted(t *testing.T) {
	errs := commtest.Together(commtest.On(ranks.Device(t, ranks.Options{}), local.New(2, local.Options{})...), func(e *commtest.Env) error {
		log := &record.Log{}
		c := record.New(e.Comm, log)
		x, whole := e.New(dtype.Float32, 8), e.New(dtype.Float32, 16)
		c.AllReduce(e.Stream, comm.T(x), comm.Sum)
		written := log.During(func() {
			c.AllReduce(e.Stream, comm.T(x), comm.Sum)
			c.AllGather(e.Stream, comm.T(whole), comm.T(x))
			c.Barrier(e.Stream)
		})
		log.Add(written, -1)
		want := []record.Total{{Kind: comm.AllReduce, Type: dtype.Float32, Count: record.Count{Calls: 1, Bytes: 32}}}
		if diff := cmp.Diff(want, log.Totals()); diff != "" || log.Bytes() != 32 || log.Copied(comm.AllGather) != 0 {
			return fmt.Errorf("before a launch: %d bytes, %d copied (-want +got):\n%s", log.Bytes(), log.Copied(comm.AllGather), diff)
		}
		log.Add(written, 3)
		want = []record.Total{
			{Kind: comm.AllGather, Type: dtype.Float32, Count: record.Count{Calls: 3, Bytes: 96}},
			{Kind: comm.AllReduce, Type: dtype.Float32, Count: record.Count{Calls: 4, Bytes: 128}},
			{Kind: comm.Barrier, Count: record.Count{Calls: 3}},
		}
		if diff := cmp.Diff(want, log.Totals()); diff != "" || log.Bytes() != 7*32 || log.Copied(comm.AllGather) != 96 {
			return fmt.Errorf("after three launches: %d bytes, %d copied (-want +got):\n%s", log.Bytes(), log.Copied(comm.AllGather), diff)
		}
		return e.Stream.Sync()
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}
