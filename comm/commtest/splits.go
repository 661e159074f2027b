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
func (e *Env) sum(c comm.Comm, mine, want byte) error {
	x := e.Put(Values{dtype.Int32, []byte{mine, 0, 0, 0}})
	c.AllReduce(e.Stream, comm.T(x), comm.Sum)
	got, err := e.Get(x)
	if err != nil {
		return err
	}
	if got.Bytes[0] != want {
		return fmt.Errorf("sum over a group of %d is %d, want %d", c.Size(), got.Bytes[0], want)
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
	wantRow, wantCol := byte(0), byte(0)
	for q := range e.Size() {
		if q/2 == row {
			wantRow += byte(q + 1)
		}
		if q%2 == col {
			wantCol += byte(q + 1)
		}
	}
	for range 20 {
		if err := e.sum(rows, byte(e.Rank()+1), wantRow); err != nil {
			return err
		}
		if err := e.sum(cols, byte(e.Rank()+1), wantCol); err != nil {
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
	return e.sum(c, 1, byte(size))
}

// twoStreams: collectives of two groups may be in flight at once, in an order
// that differs between ranks unless OneOrder asks for one.
func twoStreams(e *Env) error {
	twin, err := e.Split(0, e.Rank())
	if err != nil {
		return err
	}
	a, b := e.Stream, e.NewStream()
	x, y := e.New(dtype.Float32, 50_000), e.New(dtype.Float32, 50_000)
	b.Wait(a.Record())
	for i := range 20 {
		first := func() { e.AllReduce(a, comm.T(x), comm.Sum) }
		second := func() { twin.AllReduce(b, comm.T(y), comm.Max) }
		turn := i
		if !e.OneOrder {
			turn += e.Rank()
		}
		if turn%2 == 0 {
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

// oneGroupTwoStreams: calls of a group keep the order in which they were made,
// whatever their streams: one that could run waits for an earlier one on a
// stream that is held. The sum and the maximum would give something else the
// other way round.
func oneGroupTwoStreams(e *Env) error {
	a, b := e.Stream, e.NewStream()
	for range 50 {
		x := e.Put(Values{dtype.Int32, []byte{byte(e.Rank() + 1), 0, 0, 0}})
		b.Wait(a.Record())
		release := e.Hold(a)
		e.AllReduce(a, comm.T(x), comm.Sum)
		e.AllReduce(b, comm.T(x), comm.Max)
		if release != nil {
			release()
		}
		if err := b.Sync(); err != nil {
			return err
		}
		got, err := e.Get(x)
		if err != nil {
			return err
		}
		if want := byte(e.Size() * (e.Size() + 1) / 2); got.Bytes[0] != want {
			return fmt.Errorf("the maximum of the sum is %d, want %d", got.Bytes[0], want)
		}
	}
	return nil
}
