// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// columns are the parts of a last dimension of n, one a rank, the last ones shorter or empty
// where n does not divide.
type columns struct {
	group
	n int
}

// part is where a rank's columns begin, and how many there are.
func (k columns) part(rank int) (lo, n int) { return dtensor.Chunk(k.n, k.Size(), rank) }

// widthOf is the shape of x with another last dimension.
func widthOf(x *nn.Var, n int) []int {
	shape := slices.Clone(x.Shape())
	shape[len(shape)-1] = n
	return shape
}

// whole is all columns of x, of which each rank has its own. Every rank computes alike what
// comes of it: it keeps its columns of the gradient.
func (k columns) whole(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := c.Op(func(y *nn.Var) {
		x.Receive(c, func(dx *tensor.Tensor) { k.cut(c, dx, y.Grad().Tensor) })
	}, widthOf(x, k.n)...)
	k.note(x.Value.Tensor, byColumns, Value{At: byColumns})
	k.join(c, y.Value.Tensor, x.Value.Tensor)
	return y
}

// own is the rank's columns of x, which all ranks have alike.
func (k columns) own(c *nn.Ctx, x *nn.Var) *nn.Var {
	lo, n := k.part(k.Rank())
	y := c.Op(func(y *nn.Var) {
		x.Receive(c, func(dx *tensor.Tensor) { k.join(c, dx, y.Grad().Tensor) })
	}, widthOf(x, n)...)
	y.Slice = &nn.Slice{Offset: lo, Of: k.n, Group: k.Comm}
	k.note(x.Value.Tensor, replicate, Value{})
	k.cut(c, y.Value.Tensor, x.Value.Tensor)
	k.note(y.Value.Tensor, replicate, Value{At: byColumns})
	return y
}

// join gathers the columns of all ranks, which arrive one rank behind the other.
func (k columns) join(c *nn.Ctx, whole, own *tensor.Tensor) {
	rows, width := own.Matrix()
	most := dtensor.Padded(k.n, k.Size())
	all := c.Pool.New(own.Type, k.Size(), rows*most)
	mine := all.Rows(k.Rank(), k.Rank()+1).View(rows * most)
	c.Stream.Copy(mine.Rows(0, rows*width), own.View(rows*width))
	k.AllGather(c.Stream, comm.T(all), comm.T(mine))
	pieces := make([]piece, 0, rows*k.Size())
	for i := range rows {
		for rank := range k.Size() {
			lo, n := k.part(rank)
			pieces = append(pieces, piece{i*k.n + lo, rank*rows*most + i*n, n})
		}
	}
	move(c, whole, all, pieces)
	c.Pool.Free(all)
}

// cut copies the rank's columns.
func (k columns) cut(c *nn.Ctx, own, whole *tensor.Tensor) {
	rows, width := own.Matrix()
	lo, _ := k.part(k.Rank())
	pieces := make([]piece, rows)
	for i := range pieces {
		pieces[i] = piece{i * width, i*k.n + lo, width}
	}
	move(c, own, whole, pieces)
}

// piece is n elements that go from one place to another.
type piece struct{ to, from, n int }

// move copies pieces, which follow one another in dst and fill it. Those of one size are looked up at once.
func move(c *nn.Ctx, dst, src *tensor.Tensor, pieces []piece) {
	n := pieces[0].n
	if n == 0 || src.Numel()%n != 0 || slices.ContainsFunc(pieces, func(p piece) bool { return p.n != n || p.from%n != 0 }) {
		to, from := dst.View(dst.Numel()), src.View(src.Numel())
		for _, p := range pieces {
			if p.n > 0 {
				c.Stream.Copy(to.Rows(p.to, p.to+p.n), from.Rows(p.from, p.from+p.n))
			}
		}
		return
	}
	ids := make([]int32, len(pieces))
	for i, p := range pieces {
		ids[i] = int32(p.from / n)
	}
	where, table := c.Pool.New(dtype.Int32, len(ids)), src.Numel()/n
	c.Stream.Upload(where, device.Int32Bytes(ids))
	c.Stream.Embedding(dst.View(len(ids), n), src.View(table, n), where, 0, table)
	c.Pool.Free(where)
}
