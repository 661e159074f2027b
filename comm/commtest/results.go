// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"encoding/binary"
	"fmt"
	"math"

	"octet/comm"
	"octet/dtype"
	"octet/tensor"
)

var (
	allTypes = []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Float8E4M3, dtype.Float8E5M2, dtype.Uint8, dtype.Int32}
	floats   = []dtype.Type{dtype.Float32, dtype.BFloat16}
	ops      = []comm.Op{comm.Sum, comm.Avg, comm.Max}
	// sizes in elements: none, one, odd, a kilobyte or so, several messages
	sizes = []int{0, 1, 7, 1000, 6_001}
)

// Results are cases that compare every collective with its oracle.
func Results() []Case {
	return []Case{
		{"all-gather", allGather},
		{"all-gather of a list", allGatherList},
		{"reduce-scatter", reduceScatter},
		{"reduce-scatter of a list", reduceScatterList},
		{"all-reduce", allReduce},
		{"all-reduce of lists", allReduceLists},
		{"all-reduce of NaN", allReduceNaN},
		{"broadcast", broadcast},
		{"all-to-all", allToAll},
		{"all-to-all of a list", allToAllList},
		{"many small calls", manySmall},
	}
}

// Everyone's Values.
func (e *Env) everyone(t dtype.Type, n, seed int) []*tensor.Tensor {
	xs := make([]*tensor.Tensor, e.Size())
	for q := range xs {
		xs[q] = Values(t, n, q, seed)
	}
	return xs
}

func allGather(e *Env) error {
	for seed, t := range allTypes {
		for _, n := range sizes {
			all := e.everyone(t, n, seed)
			want := concat(all...)
			out := New(t, n*e.Size())
			e.AllGather(e.Stream, comm.T(out), comm.T(all[e.Rank()]))
			inPlace := New(t, n*e.Size())
			own := part(inPlace, e.Rank(), e.Size())
			copy(Data(own), Data(all[e.Rank()]))
			e.AllGather(e.Stream, comm.T(inPlace), comm.T(own))
			if err := e.Stream.Sync(); err != nil {
				return err
			}
			if err := equal("all-gather", out, want); err != nil {
				return err
			}
			if err := equal("all-gather in place", inPlace, want); err != nil {
				return err
			}
		}
	}
	return nil
}

func allGatherList(e *Env) error {
	var dst, src, want []*tensor.Tensor
	for i, n := range []int{3, 0, 70_000, 1, 65_536, 13, 100_000} {
		t := allTypes[i%len(allTypes)]
		all := e.everyone(t, n, i)
		src = append(src, all[e.Rank()])
		dst = append(dst, New(t, n*e.Size()))
		want = append(want, concat(all...))
	}
	e.AllGather(e.Stream, dst, src)
	e.AllGather(e.Stream, nil, nil)
	return e.equalLists(dst, want)
}

// equalLists ends the stream's work and compares its results.
func (e *Env) equalLists(got, want []*tensor.Tensor) error {
	if err := e.Stream.Sync(); err != nil {
		return err
	}
	for i := range got {
		if err := equal(fmt.Sprint("tensor ", i), got[i], want[i]); err != nil {
			return err
		}
	}
	return nil
}

func reduceScatter(e *Env) error {
	for _, t := range floats {
		for seed, op := range ops {
			for _, n := range sizes {
				all := e.everyone(t, n*e.Size(), seed)
				want := part(Reduce(all, op), e.Rank(), e.Size())
				src := all[e.Rank()]
				out := New(t, n)
				e.ReduceScatter(e.Stream, comm.T(out), comm.T(src), op)
				inPlace := part(src, e.Rank(), e.Size())
				e.ReduceScatter(e.Stream, comm.T(inPlace), comm.T(src), op)
				if err := e.Stream.Sync(); err != nil {
					return err
				}
				if err := equal(fmt.Sprint("reduce-scatter ", op), out, want); err != nil {
					return err
				}
				if err := equal(fmt.Sprint("reduce-scatter in place ", op), inPlace, want); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func reduceScatterList(e *Env) error {
	var dst, src, want []*tensor.Tensor
	for i, n := range []int{5, 0, 10_000, 1, 70_000, 17} {
		t := floats[i%2]
		all := e.everyone(t, n*e.Size(), i)
		src = append(src, all[e.Rank()])
		dst = append(dst, New(t, n))
		want = append(want, part(Reduce(all, comm.Avg), e.Rank(), e.Size()))
	}
	e.ReduceScatter(e.Stream, dst, src, comm.Avg)
	return e.equalLists(dst, want)
}

func allReduce(e *Env) error {
	for _, t := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Int32} {
		for seed, op := range ops {
			if t == dtype.Int32 && op == comm.Avg {
				continue
			}
			for _, n := range append(sizes, 4096, 4097) {
				all := e.everyone(t, n, seed)
				x := all[e.Rank()]
				want := Reduce(all, op)
				e.AllReduce(e.Stream, comm.T(x), op)
				if err := e.Stream.Sync(); err != nil {
					return err
				}
				if err := equal(fmt.Sprint("all-reduce ", op), x, want); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// allReduceLists: each tensor gets the bits that it has alone, whether the list
// is small, of one type, or larger than several messages; a second call is
// queued behind the first.
func allReduceLists(e *Env) error {
	types := []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Int32}
	var got, want []*tensor.Tensor
	for seed, sizes := range [][]int{{1, 1, 1}, {3, 0, 5, 17, 0}, {0, 0}, {}, {1000, 70_000, 1, 0, 65_536, 13, 33}, {1, 200_001, 1}} {
		for _, op := range []comm.Op{comm.Sum, comm.Max} {
			var list []*tensor.Tensor
			for i, n := range sizes {
				all := e.everyone(types[(i+seed)%len(types)], n, seed+i)
				list, want = append(list, all[e.Rank()]), append(want, Reduce(all, op))
			}
			e.AllReduce(e.Stream, list, op)
			got = append(got, list...)
		}
	}
	return e.equalLists(got, want)
}

// allReduceNaN: a NaN of one rank reaches all, whatever the op.
func allReduceNaN(e *Env) error {
	for _, t := range floats {
		for _, op := range ops {
			x := Values(t, 5, e.Rank(), 0)
			if e.Rank() == e.Size()-1 {
				if t == dtype.Float32 {
					binary.LittleEndian.PutUint32(Data(x)[8:], math.Float32bits(float32(math.NaN())))
				} else {
					binary.LittleEndian.PutUint16(Data(x)[4:], 0xFFC0)
				}
			}
			e.AllReduce(e.Stream, comm.T(x), op)
			if err := e.Stream.Sync(); err != nil {
				return err
			}
			for i := range 5 {
				if f := float(x, i); math.IsNaN(float64(f)) != (i == 2) {
					return fmt.Errorf("all-reduce %v of %v with a NaN in element 2: element %d is %v", op, t, i, f)
				}
			}
		}
	}
	return nil
}

func broadcast(e *Env) error {
	for root := range e.Size() {
		for _, n := range sizes {
			all := e.everyone(dtype.Uint8, n, root)
			x := all[e.Rank()]
			e.Broadcast(e.Stream, x, root)
			if err := e.Stream.Sync(); err != nil {
				return err
			}
			if err := equal(fmt.Sprint("broadcast from ", root), x, Values(dtype.Uint8, n, root, root)); err != nil {
				return err
			}
		}
	}
	return nil
}

func allToAll(e *Env) error {
	for _, n := range sizes {
		all := e.everyone(dtype.BFloat16, n*e.Size(), 3)
		var slots []*tensor.Tensor
		for _, x := range all {
			slots = append(slots, part(x, e.Rank(), e.Size()))
		}
		out := New(dtype.BFloat16, n*e.Size())
		e.AllToAll(e.Stream, comm.T(out), comm.T(all[e.Rank()]))
		if err := e.Stream.Sync(); err != nil {
			return err
		}
		if err := equal("all-to-all", out, concat(slots...)); err != nil {
			return err
		}
	}
	return nil
}

func allToAllList(e *Env) error {
	var dst, src, want []*tensor.Tensor
	for i, n := range []int{3, 0, 20_000, 1, 65_536, 13} {
		t := allTypes[i%len(allTypes)]
		all := e.everyone(t, n*e.Size(), i)
		var slots []*tensor.Tensor
		for _, x := range all {
			slots = append(slots, part(x, e.Rank(), e.Size()))
		}
		src = append(src, all[e.Rank()])
		dst = append(dst, New(t, n*e.Size()))
		want = append(want, concat(slots...))
	}
	e.AllToAll(e.Stream, dst, src)
	e.AllToAll(e.Stream, nil, nil)
	return e.equalLists(dst, want)
}

// manySmall queues a thousand calls of all kinds before the first Sync.
func manySmall(e *Env) error {
	x, y := New(dtype.Float32, 8), New(dtype.Int32, e.Size())
	for i := range 200 {
		e.AllReduce(e.Stream, comm.T(x), comm.Sum)
		e.Barrier(e.Stream)
		e.Broadcast(e.Stream, x, i%e.Size())
		e.AllToAll(e.Stream, comm.T(New(dtype.Int32, e.Size())), comm.T(y))
		e.AllGather(e.Stream, comm.T(y), comm.T(part(y, e.Rank(), e.Size())))
	}
	return e.Stream.Sync()
}
