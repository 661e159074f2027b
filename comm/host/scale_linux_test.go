// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"octet/comm"
	"octet/comm/store"
	"octet/internal/auth"
)

// countingStore counts the requests of all ranks.
type countingStore struct {
	*store.Memory
	requests atomic.Int64
}

func (s *countingStore) Set(ctx context.Context, key string, value []byte) error {
	s.requests.Add(1)
	return s.Memory.Set(ctx, key, value)
}

func (s *countingStore) Get(ctx context.Context, key string) ([]byte, error) {
	s.requests.Add(1)
	return s.Memory.Get(ctx, key)
}

// Meeting costs each rank the same, however many there are.
func TestMeetingCostsAFewRequestsARank(t *testing.T) {
	secret := auth.NewSecret()
	perRank := func(n int) float64 {
		st := &countingStore{Memory: store.NewMemory()}
		comms := make([]comm.Comm, n)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for r := range n {
			wg.Go(func() {
				comms[r], errs[r] = Connect(context.Background(), Config{Rank: r, World: n, Store: st, RunID: "0",
					HostID: fmt.Sprint("host ", 2*r/n), Address: "127.0.0.1", ChunkBytes: 4096, Secret: secret})
			})
		}
		wg.Wait()
		for r, err := range errs {
			if err != nil {
				t.Fatalf("rank %d: %v", r, err)
			}
			defer comms[r].(comm.Control).Close()
		}
		return float64(st.requests.Load()) / float64(n)
	}
	few, many := perRank(4), perRank(16)
	if many > few*1.25 {
		t.Errorf("%.1f requests a rank with 16 ranks, %.1f with 4", many, few)
	}
}

// A rank that has nothing to do sleeps, whatever the others do.
func TestIdleRanksSleep(t *testing.T) {
	const n = 16
	st := store.NewMemory()
	comms := make([]comm.Comm, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			var err error
			if comms[r], err = Connect(context.Background(), Config{Rank: r, World: n, Store: st, RunID: "0", ChunkBytes: 4096}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	// A look every 50 ms would wake each rank ten times in half a second; the test
	// itself is woken a few times, on a busy machine more often.
	woken := int64(1 << 62)
	for range 3 {
		var before, after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		time.Sleep(500 * time.Millisecond)
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		woken = min(woken, after.Nvcsw-before.Nvcsw)
	}
	if woken > 5*n {
		t.Errorf("%d idle ranks were woken %d times in half a second", n, woken)
	}
	for _, c := range comms {
		c.(comm.Control).Close()
	}
}

// An abort rings at every rank; a rank that leaves hears itself alone.
func TestListenersHearAnAbort(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, pageBytes(3), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	var pages [3]*page
	heard := make(chan int, 3)
	for i := range pages {
		pages[i] = newPage(mem, i, 3)
		go func() {
			pages[i].listen(func() {})
			heard <- i
		}()
	}
	pages[1].hush()
	if i := <-heard; i != 1 {
		t.Errorf("rank %d heard, want rank 1, which leaves", i)
	}
	pages[0].tell(&comm.AbortError{Rank: 7, Err: errors.New("loss is NaN")})
	<-heard
	<-heard
	if e := pages[2].look(); e == nil || e.Rank != 7 || e.Err.Error() != "loss is NaN" {
		t.Errorf("on the page: %v", e)
	}
}

func TestDeaths(t *testing.T) {
	for _, pidfds := range []bool{true, false} {
		t.Run(fmt.Sprint("pidfds ", pidfds), func(t *testing.T) {
			child := exec.Command("sleep", "1000")
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			d, err := watchDeaths([]int{0, child.Process.Pid})
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			if !pidfds { // as on a kernel without them
				syscall.Close(d.fds[1])
				d.fds[1], d.look = -1, true
			}
			child.Process.Kill()
			child.Wait()
			if i, ok := d.next(); i != 1 || !ok {
				t.Errorf("got %d, %v, want process 1", i, ok)
			}
			d.stop()
			if _, ok := d.next(); ok {
				t.Error("a process died after stop")
			}
		})
	}
}

func TestWatchDeathsOfADeadProcess(t *testing.T) {
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if d, err := watchDeaths([]int{child.Process.Pid}); err == nil {
		d.close()
		t.Error("no error")
	}
}

// A sleep of an hour is a process that was stopped for an hour.
func TestPatienceDoesNotCountPauses(t *testing.T) {
	p := newPatience(2 * time.Second)
	p.slept(time.Hour)
	if p.left < 1800*time.Millisecond {
		t.Errorf("left %v of 2s", p.left)
	}
	sleeps := 0
	for ; p.next() > 0; sleeps++ {
		p.slept(p.next())
	}
	if sleeps > 8 {
		t.Errorf("%d looks in 2s, want fewer and fewer", sleeps)
	}
}
