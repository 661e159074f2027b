// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/host"
	"octet/comm/store"
	"octet/dtype"
	"octet/internal/auth"
	"octet/tensor"
)

// twoHosts connects the ranks of two hosts, local on each, far from each other.
func twoHosts(t *testing.T, local int, way *farAway) []comm.Comm {
	t.Helper()
	n := 2 * local
	way.t, way.Store, way.hostOf = t, store.NewMemory(), func(rank int) int { return rank / local }
	secret := auth.NewSecret()
	comms := make([]comm.Comm, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			comms[r], errs[r] = host.Connect(context.Background(), host.Config{Rank: r, World: n, Store: way, RunID: "far",
				HostID: fmt.Sprint("host ", way.hostOf(r)), Address: "127.0.0.1", Source: fmt.Sprint("127.0.0.", 2+way.hostOf(r)), Secret: secret})
		})
	}
	wg.Wait()
	for r, err := range errs {
		if err != nil {
			t.Fatalf("rank %d: %v", r, err)
		}
	}
	t.Cleanup(func() {
		for _, c := range comms {
			c.(comm.Control).Close()
		}
	})
	return comms
}

type list = []*tensor.Tensor

// collective is one call on tensors whose largest, of which all others are parts,
// has elems elements. It returns a rank's results.
type collective struct {
	name  string
	bound float64 // bytes sent either way, as a multiple of the largest tensor's
	run   func(e *commtest.Env, elems int) list
}

func collectives() []collective {
	values := func(e *commtest.Env, n int) *tensor.Tensor {
		return e.Put(commtest.Draw(dtype.Float32, n, e.Rank(), 1))
	}
	return []collective{
		{"all-gather", 1, func(e *commtest.Env, elems int) list {
			dst := e.New(dtype.Float32, elems)
			e.AllGather(e.Stream, list{dst}, list{values(e, elems/e.Size())})
			return list{dst}
		}},
		{"reduce-scatter", 1.5, func(e *commtest.Env, elems int) list {
			dst := e.New(dtype.Float32, elems/e.Size())
			e.ReduceScatter(e.Stream, list{dst}, list{values(e, elems)}, comm.Sum)
			return list{dst}
		}},
		{"all-reduce", 2, func(e *commtest.Env, elems int) list {
			x := values(e, elems-8)
			y := values(e, 8)
			e.AllReduce(e.Stream, list{y, x}, comm.Sum)
			return list{y, x}
		}},
		{"broadcast", 1, func(e *commtest.Env, elems int) list {
			x := values(e, elems)
			e.Broadcast(e.Stream, x, e.Size()-1)
			return list{x}
		}},
	}
}

// results runs a collective on all ranks.
func results(t *testing.T, comms []comm.Comm, c collective, elems int) [][]byte {
	t.Helper()
	out := make([][]byte, len(comms))
	for r, err := range commtest.Together(onDevice(t, comms), func(e *commtest.Env) error {
		for _, x := range c.run(e, elems) {
			v, err := e.Get(x)
			if err != nil {
				return err
			}
			out[e.Rank()] = append(out[e.Rank()], v.Bytes...)
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("rank %d: %v", r, err)
		}
	}
	return out
}

// Hosts send each other each byte once, whatever the number of their ranks, and all
// have the bits that one host would have.
func TestTrafficBetweenHosts(t *testing.T) {
	const elems = 1 << 20
	for _, local := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("2 hosts of %d", local), func(t *testing.T) {
			var way farAway
			far := twoHosts(t, local, &way)
			near := connect(t, 2*local, 0, sharedMemory)
			defer func() {
				for _, c := range near {
					c.(comm.Control).Close()
				}
			}()
			way.from.Range(func(ip, _ any) bool {
				if ip != "127.0.0.3" {
					t.Errorf("host 1, whose ranks connect to those of host 0, does it from %v", ip)
				}
				return true
			})
			for _, c := range collectives() {
				want := results(t, near, c, elems)
				before := [2]int64{way.sent[0].Load(), way.sent[1].Load()}
				got := results(t, far, c, elems)
				for r := range got {
					if !bytes.Equal(got[r], want[r]) {
						t.Errorf("%s: rank %d has other bits than on one host", c.name, r)
					}
				}
				for to := range before {
					sent := float64(way.sent[to].Load() - before[to])
					t.Logf("%s: %.3f n to host %d", c.name, sent/(4*elems), to)
					if sent > c.bound*4*elems*1.01+1<<16 { // heads of messages
						t.Errorf("%s: %.0f bytes to host %d, want at most %.1f of %d", c.name, sent, to, c.bound, 4*elems)
					}
				}
			}
		})
	}
}

// Uneven lists, small pieces: the bits of one host.
func TestHostsHaveTheBitsOfOne(t *testing.T) {
	for _, elems := range []int{0, 8, 16, 5000, 100_008} {
		far := connect(t, 6, 4096, func(rank int) string { return fmt.Sprint("host ", rank/2) })
		near := connect(t, 6, 4096, sharedMemory)
		for _, c := range collectives() {
			if c.name == "all-reduce" && elems < 16 { // it takes two lists
				continue
			}
			got, want := results(t, far, c, elems/6*6), results(t, near, c, elems/6*6)
			for r := range got {
				if !bytes.Equal(got[r], want[r]) {
					t.Errorf("%s of %d elements: rank %d has other bits than on one host", c.name, elems, r)
				}
			}
		}
		for _, c := range append(far, near...) {
			c.(comm.Control).Close()
		}
	}
}

// A long fat link is filled: 400 ms there and back, 100 MB/s, 64 MiB are gathered
// in at most three times what bandwidth and one round trip need, on a machine at
// rest (make heavy). One that is busy gets ten; a rank that waited for each message
// would need thirty.
func TestLongFatLink(t *testing.T) {
	t.Parallel()
	const elems = 64 << 20 / 4
	locals, factor := []int{1}, time.Duration(10)
	if os.Getenv("OCTET_HEAVY") != "" {
		locals, factor = []int{1, 2, 4}, 3
	}
	for _, local := range locals {
		way := farAway{delay: 200 * time.Millisecond, rate: 100e6}
		comms := twoHosts(t, local, &way)
		var ready sync.WaitGroup
		ready.Add(len(comms))
		var start time.Time
		for r, err := range commtest.Together(onDevice(t, comms), func(e *commtest.Env) error {
			src, dst := e.Put(commtest.Draw(dtype.Float32, elems/e.Size(), e.Rank(), 1)), e.New(dtype.Float32, elems)
			err := e.Stream.Sync()
			ready.Done()
			ready.Wait()
			if e.Rank() == 0 {
				start = time.Now()
			}
			e.AllGather(e.Stream, list{dst}, list{src})
			return errors.Join(err, e.Stream.Sync())
		}) {
			if err != nil {
				t.Fatalf("rank %d: %v", r, err)
			}
		}
		took := time.Since(start)
		least := time.Duration(4*elems/2/way.rate*float64(time.Second)) + 2*way.delay
		t.Logf("2 hosts of %d: %v, of which bandwidth and one round trip need %v", local, took.Round(time.Millisecond), least.Round(time.Millisecond))
		if took > factor*least {
			t.Errorf("2 hosts of %d: more than %d times what bandwidth and one round trip need", local, factor)
		}
	}
}

// A rank may leave when its last call is done, though the other host has only begun
// to read what it has sent.
func TestAllThatWasPostedArrivesThoughItsRankLeaves(t *testing.T) {
	t.Parallel()
	for _, l := range []struct {
		name   string
		ranks  int
		hostOf func(int) string
	}{{"2 hosts of 1", 2, tcp}, {"2 hosts of 2", 4, pairs}} {
		t.Run(l.name, func(t *testing.T) {
			comms := connect(t, l.ranks, 0, l.hostOf)
			want := commtest.Draw(dtype.Float32, 16<<20/4, 0, 1)
			done := make(chan struct{})
			for r, err := range commtest.Together(onDevice(t, comms), func(e *commtest.Env) error {
				x := e.New(dtype.Float32, len(want.Bytes)/4)
				if e.Rank() == 0 {
					x = e.Put(want)
				}
				if l.hostOf(e.Rank()) != l.hostOf(0) {
					select {
					case <-done:
					case <-time.After(200 * time.Millisecond):
					}
				}
				e.Broadcast(e.Stream, x, 0)
				got, err := e.Get(x)
				if e.Rank() == 0 {
					err = errors.Join(err, e.Comm.(comm.Control).Close())
					close(done)
				}
				if err == nil && !bytes.Equal(got.Bytes, want.Bytes) {
					err = errors.New("other bytes than were sent")
				}
				return err
			}) {
				if err != nil {
					t.Errorf("rank %d: %v", r, err)
				}
			}
			for _, c := range comms[1:] {
				c.(comm.Control).Close()
			}
		})
	}
}
