// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/comm"
	"octet/dtype"
)

// hurry waits for all ranks and then makes deadlines short, for tests in which
// one is reached.
func hurry(e *Env) error {
	e.Barrier(e.Stream)
	err := e.Stream.Sync()
	e.Comm.(comm.Control).SetTimeout(500 * time.Millisecond)
	return err
}

// faults checks that no mistake hangs and that all ranks are told what it was.
func (s Suite) faults(t *testing.T, n int) {
	for _, tt := range mismatches {
		t.Run("mismatch: "+tt.name, func(t *testing.T) {
			if s.LateMismatch {
				t.Skip("calls that differ need not be told")
			}
			ranks := s.opened(t, n)
			last := n - 1
			errs := s.Together(ranks, func(e *Env) error {
				e.Barrier(e.Stream)
				if e.Rank() == last {
					tt.odd(e)
				} else {
					tt.call(e)
				}
				return e.Stream.Sync()
			})
			for r, err := range errs {
				mentions(t, r, err, "different calls", fmt.Sprintf("rank %d calls", last), tt.says[0], tt.says[1], "#2", `"world"`)
			}
		})
	}
	t.Run("deadlines", func(t *testing.T) { // at once, since each takes its time
		whole, split := s.opened(t, n), s.opened(t, n)
		var wg sync.WaitGroup
		wg.Go(func() { s.deadline(t, whole) })
		wg.Go(func() { s.splitDeadline(t, split) })
		if n > 2 {
			for bad := range 2 {
				chained := s.opened(t, n)
				wg.Go(func() { s.chainedDeadline(t, chained, bad) })
			}
		}
		wg.Wait()
	})
	t.Run("abort", func(t *testing.T) { s.abort(t, s.opened(t, n)) })
	t.Run("abort of a child", func(t *testing.T) { s.abortChild(t, s.opened(t, n)) })
	t.Run("abort of a split", func(t *testing.T) { s.abortSplit(t, s.opened(t, n)) })
}

// mismatches are calls of the last rank that differ from those of the others.
var mismatches = []struct {
	name      string
	call, odd func(e *Env)
	says      [2]string
}{
	{"operation",
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Sum) },
		func(e *Env) { e.Broadcast(e.Stream, e.New(dtype.Float32, 8), 0) },
		[2]string{"all-reduce sum of float32[8]", "broadcast from rank 0 of float32[8]"}},
	{"size",
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Sum) },
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 100_000)), comm.Sum) },
		[2]string{"float32[8] (32 bytes)", "float32[100000] (400000 bytes)"}},
	{"type",
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Sum) },
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.BFloat16, 16)), comm.Sum) },
		[2]string{"float32[8]", "bfloat16[16]"}},
	{"op",
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Sum) },
		func(e *Env) { e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Max) },
		[2]string{"all-reduce sum", "all-reduce max"}},
	{"root",
		func(e *Env) { e.Broadcast(e.Stream, e.New(dtype.Float32, 8), 0) },
		func(e *Env) { e.Broadcast(e.Stream, e.New(dtype.Float32, 8), 1) },
		[2]string{"broadcast from rank 0", "broadcast from rank 1"}},
	{"length of the list",
		func(e *Env) { gatherList(e, 4, 4) },
		func(e *Env) { gatherList(e, 4, 4, 4) },
		[2]string{"all-gather of 2 tensors, uint8[4] uint8[4]", "all-gather of 3 tensors, uint8[4] uint8[4] uint8[4]"}},
	{"sizes in the list",
		func(e *Env) { gatherList(e, 1, 1, 1, 1, 2, 3) },
		func(e *Env) { gatherList(e, 1, 1, 1, 1, 3, 2) },
		[2]string{"all-gather of 6 tensors", "the lists differ"}},
	{"length of a list that is reduced",
		func(e *Env) { reduceList(e, 8, 1) },
		func(e *Env) { reduceList(e, 8) },
		[2]string{"all-reduce sum of 2 tensors, float32[8] float32[1]", "all-reduce sum of float32[8]"}},
	{"large lists that differ further on",
		func(e *Env) { reduceList(e, 8, 8, 8, 8, 100_000, 8) },
		func(e *Env) { reduceList(e, 8, 8, 8, 8, 8, 100_000) },
		[2]string{"all-reduce sum of 6 tensors", "the lists differ further on"}},
	{"order of a list",
		func(e *Env) { exchangeList(e, dtype.Uint8, dtype.Float32) },
		func(e *Env) { exchangeList(e, dtype.Float32, dtype.Uint8) },
		[2]string{"all-to-all of 2 tensors, uint8[", "all-to-all of 2 tensors, float32["}},
}

// reduceList all-reduces tensors of the given sizes.
func reduceList(e *Env, sizes ...int) {
	list := comm.T()
	for _, n := range sizes {
		list = append(list, e.New(dtype.Float32, n))
	}
	e.AllReduce(e.Stream, list, comm.Sum)
}

func gatherList(e *Env, sizes ...int) {
	src, dst := comm.T(), comm.T()
	for _, n := range sizes {
		src, dst = append(src, e.New(dtype.Uint8, n)), append(dst, e.New(dtype.Uint8, n*e.Size()))
	}
	e.AllGather(e.Stream, dst, src)
}

// exchangeList is an all-to-all of an element of each type for each rank.
func exchangeList(e *Env, types ...dtype.Type) {
	src, dst := comm.T(), comm.T()
	for _, t := range types {
		src, dst = append(src, e.New(t, e.Size())), append(dst, e.New(t, e.Size()))
	}
	e.AllToAll(e.Stream, dst, src)
}

// deadline: rank 1 makes no call; the others name it.
func (s Suite) deadline(t *testing.T, ranks []Rank) {
	gather := func(e *Env) error {
		e.AllGather(e.Stream, comm.T(e.New(dtype.Float32, 100*e.Size())), comm.T(e.New(dtype.Float32, 100)))
		return e.Stream.Sync()
	}
	errs := s.Together(ranks, func(e *Env) error {
		e.Comm.(comm.Control).SetName("fsdp")
		if err := hurry(e); err != nil || e.Rank() == 1 {
			return err
		}
		return gather(e)
	})
	here := []string{}
	for r := range ranks {
		if r != 1 {
			here = append(here, fmt.Sprint(r))
		}
	}
	for r, err := range errs {
		if r != 1 {
			mentions(t, r, err, `all-gather #2 of group "fsdp" (400 bytes): rank 1 has not arrived after 500ms; arrived: `+strings.Join(here, ", "))
		}
	}
	late := s.Together(ranks[1:2], func(e *Env) (err error) {
		for err == nil { // the first may find all that it needs
			err = gather(e)
		}
		return err
	})
	mentions(t, 1, late[0], "aborted by rank", "rank 1 has not arrived")
}

// chainedDeadline: of ranks 0 and 1 the bad one does not come to the group that they have, so that the other does not come to that of all. Those who
// wait there longer than they should name the bad one, too.
func (s Suite) chainedDeadline(t *testing.T, ranks []Rank, bad int) {
	errs := s.Together(ranks, func(e *Env) error {
		color := min(0, 1-e.Rank()) // of rank 0 and 1
		pair, err := e.Split(color, 0)
		if err != nil {
			return err
		}
		if err := hurry(e); err != nil || e.Rank() == bad {
			return err
		}
		if e.Rank() == 1-bad {
			pair.(comm.Control).SetName("tp")
			time.Sleep(250 * time.Millisecond) // its own deadline is not the first
			pair.Barrier(e.Stream)
		}
		e.Barrier(e.Stream)
		return e.Stream.Sync()
	})
	want := fmt.Sprintf(`rank %d has not arrived after 500ms; rank %d waits for rank %d in barrier #1 of group "tp"`, bad, 1-bad, bad)
	for r, err := range errs {
		if r != bad {
			mentions(t, r, err, `barrier #2 of group "world"`, want)
		}
	}
}

// splitDeadline: rank 0 does not split.
func (s Suite) splitDeadline(t *testing.T, ranks []Rank) {
	for r, err := range s.Together(ranks, func(e *Env) error {
		if err := hurry(e); err != nil || e.Rank() == 0 {
			return err
		}
		_, err := e.Split(0, 0)
		return err
	}) {
		if r != 0 {
			mentions(t, r, err, `split #1 of group "world"`, "rank 0 has not arrived after ")
		}
	}
}

var errLoss = errors.New("loss is NaN")

// abort: the last rank aborts while the others wait; later calls fail too.
func (s Suite) abort(t *testing.T, ranks []Rank) {
	last := len(ranks) - 1
	for r, err := range s.Together(ranks, func(e *Env) error {
		if e.Rank() == last {
			e.Abort(errLoss)
			e.Abort(errors.New("a later cause"))
		} else {
			e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, 8)), comm.Sum)
			if err := e.Stream.Sync(); err == nil {
				return errors.New("all-reduce went through")
			}
		}
		e.Barrier(e.Stream)
		return e.Stream.Sync()
	}) {
		mentions(t, r, err, "barrier #", fmt.Sprintf("aborted by rank %d: loss is NaN", last))
		var aborted *comm.AbortError
		if !errors.As(err, &aborted) || aborted.Rank != last {
			t.Errorf("rank %d: %v is no AbortError of rank %d", r, err, last)
		}
	}
}

// abortChild: a group's abort ends the groups it was split from, and others
// split from those.
func (s Suite) abortChild(t *testing.T, ranks []Rank) {
	for r, err := range s.Together(ranks, func(e *Env) error {
		child, err := e.Split(e.Rank()%2, 0)
		if err != nil {
			return err
		}
		if e.Rank() == 0 {
			child.Abort(errLoss)
		}
		e.Barrier(e.Stream)
		if err := e.Stream.Sync(); err == nil {
			return errors.New("the parent's barrier went through")
		}
		child.Barrier(e.Stream)
		return e.Stream.Sync()
	}) {
		mentions(t, r, err, "aborted by rank 0: loss is NaN")
	}
}

// abortSplit: waiting for others to split ends with an abort.
func (s Suite) abortSplit(t *testing.T, ranks []Rank) {
	for r, err := range s.Together(ranks, func(e *Env) error {
		if e.Rank() == 0 {
			e.Abort(errLoss)
			return nil
		}
		_, err := e.Split(0, 0)
		return err
	}) {
		if r != 0 {
			mentions(t, r, err, `split #1 of group "world"`, "aborted by rank 0: loss is NaN")
		}
	}
}
