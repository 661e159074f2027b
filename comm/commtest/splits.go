// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"fmt"

	"octet/comm"
	"octet/dtype"
)

// Splits are cases about groups of groups.
func Splits() []Case {
	return []Case{
		{"split in rows and columns", rowsAndColumns},
		{"split by key, without some", splitSome},
		{"two groups on two streams", twoStreams},
		{"two streams on one group", oneGroupTwoStreams},
	}
}

// sum checks an all-reduce of each rank's number over c.
func (e *Env) sum(c comm.Comm, s *Stream, mine int32, want int32) error {
	x := New(dtype.Int32, 1)
	Data(x)[0] = byte(mine)
	c.AllReduce(s, comm.T(x), comm.Sum)
	if err := s.Sync(); err != nil {
		return err
	}
	if got := int32(Data(x)[0]); got != want {
		return fmt.Errorf("sum over a group of %d is %d, want %d", c.Size(), got, want)
	}
	return nil
}

// rowsAndColumns makes a mesh of two columns, as FSDP with TP does, and uses
// its groups in turn.
func rowsAndColumns(e *Env) error {
	row, col := e.Rank()/2, e.Rank()%2
	rows, err := e.Split(row, col)
	if err != nil {
		return err
	}
	cols, err := e.Split(col, row)
	if err != nil {
		return err
	}
	if rows.Rank() != col || cols.Rank() != row {
		return fmt.Errorf("rank %d is %d in its row and %d in its column", e.Rank(), rows.Rank(), cols.Rank())
	}
	wantRow, wantCol := int32(0), int32(0)
	for q := range e.Size() {
		if q/2 == row {
			wantRow += int32(q + 1)
		}
		if q%2 == col {
			wantCol += int32(q + 1)
		}
	}
	for range 20 {
		if err := e.sum(rows, e.Stream, int32(e.Rank()+1), wantRow); err != nil {
			return err
		}
		if err := e.sum(cols, e.Stream, int32(e.Rank()+1), wantCol); err != nil {
			return err
		}
	}
	return nil
}

// splitSome reverses the order of ranks and leaves out the last one.
func splitSome(e *Env) error {
	color := 7
	if e.Size() > 1 && e.Rank() == e.Size()-1 {
		color = -1
	}
	c, err := e.Split(color, -e.Rank())
	if err != nil {
		return err
	}
	if color < 0 {
		if c != nil {
			return fmt.Errorf("a negative color gave a group of %d", c.Size())
		}
		return nil
	}
	size := max(e.Size()-1, 1)
	if c.Size() != size || c.Rank() != size-1-e.Rank() {
		return fmt.Errorf("rank %d of %d is rank %d of %d in the reversed group", e.Rank(), e.Size(), c.Rank(), c.Size())
	}
	return e.sum(c, e.Stream, 1, int32(size))
}

// twoStreams: collectives of two groups may be in flight at once, in an order
// that differs between ranks.
func twoStreams(e *Env) error {
	twin, err := e.Split(0, e.Rank())
	if err != nil {
		return err
	}
	a, b := e.Stream, e.NewStream()
	x, y := New(dtype.Float32, 50_000), New(dtype.Float32, 50_000)
	for i := range 20 {
		first := func() { e.AllReduce(a, comm.T(x), comm.Sum) }
		second := func() { twin.AllReduce(b, comm.T(y), comm.Max) }
		if (i+e.Rank())%2 == 0 {
			first, second = second, first
		}
		first()
		second()
	}
	if err := a.Sync(); err != nil {
		return err
	}
	return b.Sync()
}

// oneGroupTwoStreams: calls of a group keep the order in which they were
// made, whatever their streams.
func oneGroupTwoStreams(e *Env) error {
	a, b := e.Stream, e.NewStream()
	x, y := New(dtype.Float32, 100), New(dtype.Int32, 300)
	for range 50 {
		e.AllReduce(a, comm.T(x), comm.Sum)
		e.AllReduce(b, comm.T(y), comm.Max)
	}
	if err := a.Sync(); err != nil {
		return err
	}
	return b.Sync()
}
