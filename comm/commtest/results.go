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
	ops      = []comm.Op{comm.Sum, comm.Max}
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

// part is part q of n equal parts.
func part(t *tensor.Tensor, q, n int) *tensor.Tensor {
	return t.Rows(q*t.Numel()/n, (q+1)*t.Numel()/n)
}

func allGather(e *Env) error {
	for seed, t := range allTypes {
		for _, n := range sizes {
			all := e.everyone(t, n, seed)
			out := e.New(t, n*e.Size())
			e.AllGather(e.Stream, comm.T(out), comm.T(e.Put(all[e.Rank()])))
			e.want("all-gather", out, concat(all...))
			inPlace := e.New(t, n*e.Size())
			own := part(inPlace, e.Rank(), e.Size())
			e.Stream.Upload(own, all[e.Rank()].Bytes)
			e.AllGather(e.Stream, comm.T(inPlace), comm.T(own))
			e.want("all-gather in place", inPlace, concat(all...))
		}
	}
	return e.verify()
}

func allGatherList(e *Env) error {
	var dst, src []*tensor.Tensor
	var want []Values
	for i, n := range []int{3, 0, 70_000, 1, 65_536, 13, 100_000} {
		t := allTypes[i%len(allTypes)]
		all := e.everyone(t, n, i)
		src = append(src, e.Put(all[e.Rank()]))
		dst = append(dst, e.New(t, n*e.Size()))
		want = append(want, concat(all...))
	}
	e.AllGather(e.Stream, dst, src)
	e.AllGather(e.Stream, nil, nil)
	for i := range dst {
		e.want(fmt.Sprint("tensor ", i), dst[i], want[i])
	}
	return e.verify()
}

func reduceScatter(e *Env) error {
	for _, t := range floats {
		for seed, op := range ops {
			for _, n := range sizes {
				all := e.everyone(t, n*e.Size(), seed)
				src, out := e.Put(all[e.Rank()]), e.New(t, n)
				e.ReduceScatter(e.Stream, comm.T(out), comm.T(src), op)
				e.wantReduced("reduce-scatter", out, all, op, e.Rank(), e.Size())
				inPlace := part(src, e.Rank(), e.Size())
				e.ReduceScatter(e.Stream, comm.T(inPlace), comm.T(src), op)
				e.wantReduced("reduce-scatter in place", inPlace, all, op, e.Rank(), e.Size())
			}
		}
	}
	return e.verify()
}

func reduceScatterList(e *Env) error {
	var dst, src []*tensor.Tensor
	var alls [][]Values
	for i, n := range []int{5, 0, 10_000, 1, 70_000, 17} {
		t := floats[i%2]
		all := e.everyone(t, n*e.Size(), i)
		src = append(src, e.Put(all[e.Rank()]))
		dst = append(dst, e.New(t, n))
		alls = append(alls, all)
	}
	e.ReduceScatter(e.Stream, dst, src, comm.Sum)
	for i := range dst {
		e.wantReduced(fmt.Sprint("tensor ", i), dst[i], alls[i], comm.Sum, e.Rank(), e.Size())
	}
	return e.verify()
}

func allReduce(e *Env) error {
	for _, t := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Int32} {
		for seed, op := range ops {
			for _, n := range append(sizes, 4096, 4097) {
				all := e.everyone(t, n, seed)
				x := e.Put(all[e.Rank()])
				e.AllReduce(e.Stream, comm.T(x), op)
				e.wantReduced("all-reduce", x, all, op, 0, 1)
			}
		}
	}
	return e.verify()
}

// allReduceLists: each tensor gets the bits that it has alone, whether the list
// is small, of several types, or larger than several messages.
func allReduceLists(e *Env) error {
	types := []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Int32}
	for seed, sizes := range [][]int{{1, 1, 1}, {3, 0, 5, 17, 0}, {0, 0}, {}, {1000, 70_000, 1, 0, 65_536, 13, 33}, {1, 70_001, 1}} {
		for _, op := range []comm.Op{comm.Sum, comm.Max} {
			var list []*tensor.Tensor
			var alls [][]Values
			for i, n := range sizes {
				all := e.everyone(types[(i+seed)%len(types)], n, seed+i)
				list, alls = append(list, e.Put(all[e.Rank()])), append(alls, all)
			}
			e.AllReduce(e.Stream, list, op)
			for i := range list {
				e.wantReduced(fmt.Sprintf("tensor %d of list %d", i, seed), list[i], alls[i], op, 0, 1)
			}
		}
	}
	return e.verify()
}

// allReduceNaN: a NaN of one rank reaches all in a sum.
func allReduceNaN(e *Env) error {
	for _, t := range floats {
		v := Draw(t, 5, e.Rank(), 0)
		if e.Rank() == e.Size()-1 {
			if t == dtype.Float32 {
				binary.LittleEndian.PutUint32(v.element(2), math.Float32bits(float32(math.NaN())))
			} else {
				binary.LittleEndian.PutUint16(v.element(2), 0xFFC0)
			}
		}
		x := e.Put(v)
		e.AllReduce(e.Stream, comm.T(x), comm.Sum)
		got, err := e.Get(x)
		if err != nil {
			return err
		}
		for i := range got.Len() {
			if f := got.float(i); math.IsNaN(float64(f)) != (i == 2) {
				return fmt.Errorf("all-reduce of %v with a NaN in element 2: element %d is %v", t, i, f)
			}
		}
	}
	return nil
}

func broadcast(e *Env) error {
	for root := range e.Size() {
		for _, n := range sizes {
			x := e.Put(Draw(dtype.Uint8, n, e.Rank(), root))
			e.Broadcast(e.Stream, x, root)
			e.want(fmt.Sprint("broadcast from ", root), x, Draw(dtype.Uint8, n, root, root))
		}
	}
	return e.verify()
}

// slots is what reaches this rank of an all-to-all of everyone's values.
func (e *Env) slots(all []Values) Values {
	var mine []Values
	for _, v := range all {
		mine = append(mine, v.part(e.Rank(), e.Size()))
	}
	return concat(mine...)
}

func allToAll(e *Env) error {
	for _, n := range sizes {
		all := e.everyone(dtype.BFloat16, n*e.Size(), 3)
		out := e.New(dtype.BFloat16, n*e.Size())
		e.AllToAll(e.Stream, comm.T(out), comm.T(e.Put(all[e.Rank()])))
		e.want("all-to-all", out, e.slots(all))
	}
	return e.verify()
}

func allToAllList(e *Env) error {
	var dst, src []*tensor.Tensor
	var want []Values
	for i, n := range []int{3, 0, 20_000, 1, 65_536, 13} {
		t := allTypes[i%len(allTypes)]
		all := e.everyone(t, n*e.Size(), i)
		src = append(src, e.Put(all[e.Rank()]))
		dst = append(dst, e.New(t, n*e.Size()))
		want = append(want, e.slots(all))
	}
	e.AllToAll(e.Stream, dst, src)
	e.AllToAll(e.Stream, nil, nil)
	for i := range dst {
		e.want(fmt.Sprint("tensor ", i), dst[i], want[i])
	}
	return e.verify()
}

// manySmall queues a thousand calls of all kinds before the first Sync.
func manySmall(e *Env) error {
	x, y, z := e.New(dtype.Float32, 8), e.New(dtype.Int32, e.Size()), e.New(dtype.Int32, e.Size())
	for i := range 200 {
		e.AllReduce(e.Stream, comm.T(x), comm.Sum)
		e.Barrier(e.Stream)
		e.Broadcast(e.Stream, x, i%e.Size())
		e.AllToAll(e.Stream, comm.T(z), comm.T(y))
		e.AllGather(e.Stream, comm.T(y), comm.T(part(y, e.Rank(), e.Size())))
	}
	return e.Stream.Sync()
}
