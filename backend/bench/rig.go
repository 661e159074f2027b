// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/internal/rng"
	"octet/tensor"
)

// rig is a rank alone, on which one shape is measured: what it took ends with it.
type rig struct {
	*backend.Rank
	s    device.Stream
	pool *device.Pool
}

// onRig opens a rig and runs f on it.
func onRig(ctx context.Context, o backend.Options, f func(r *rig) error) error {
	return backend.Run(ctx, 1, o, func(rank *backend.Rank) error {
		return f(newRig(rank))
	})
}

func newRig(rank *backend.Rank) *rig {
	return &rig{rank, rank.Device.NewStream("bench"), device.NewPool(rank.Device)}
}

// peaks are what a device multiplies at most with operands of each type, FLOP/s.
type peaks struct{ f32, bf16, float8 float64 }

// peaksOf measures the device of o.
func peaksOf(o backend.Options) (p peaks, err error) {
	dev, err := backend.OpenDevice(o)
	if err != nil {
		return p, err
	}
	return peaks{dev.Peak(dtype.Float32), dev.Peak(dtype.BFloat16), dev.Peak(dtype.Float8E4M3)}, dev.Close()
}

// normal makes a tensor [rows,cols] of a type of high precision, drawn from N(0,1); of
// one name it has always the same values.
func (r *rig) normal(t dtype.Type, name string, rows, cols int) *tensor.Tensor {
	values := make([]float32, rows*cols)
	rng.New(0, name).Normal(values, 0, 0, 1)
	x := r.pool.New(dtype.Float32, rows, cols)
	r.s.Upload(x, device.Float32Bytes(values))
	if t == dtype.Float32 {
		return x
	}
	y := r.pool.New(t, rows, cols)
	r.s.Copy(y, x)
	r.pool.Free(x)
	return y
}

// cast makes src [R,C] float8 with its own scales: one of all or, where how is
// axis-wise, one a row, or one a column. Of an operand whose rows are summed the scales are those of columns, and it
// lies transposed where the device reads no other.
func (r *rig) cast(src *tensor.Tensor, how fp8.Cast, perColumn, pow2 bool) tensor.Operand {
	var scales []int
	if how.Granularity != fp8.Tensorwise {
		rows, cols := src.Matrix()
		if scales = []int{rows, 1}; perColumn {
			scales = []int{1, cols}
		}
	}
	q := tensor.Operand{Scale: r.pool.New(dtype.Float32, scales...), Inv: r.pool.New(dtype.Float32, scales...)}
	if perColumn && r.s.Float8TN() {
		rows, cols := src.Matrix()
		q.Tensor, q.Transposed = r.pool.New(how.Format, cols, rows), true
		r.s.DynamicCast(tensor.Operand{}, q, tensor.Operand{Tensor: src}, pow2)
		return q
	}
	q.Tensor = r.pool.New(how.Format, src.Shape...)
	r.s.DynamicCast(q, tensor.Operand{}, tensor.Operand{Tensor: src}, pow2)
	return q
}
