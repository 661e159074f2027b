// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// Watch measures what the casts of a model do: how large their tensors are, how much
// of them has no place in the format, and what is lost. Between Begin and End each cast
// is read a second time, element by element; otherwise a Watch costs nothing.
type Watch struct {
	layers []NamedLinear
	on     bool
	// float32 [slots, NumCastMaxima] and [slots, NumCastSums]: a slot for each role of
	// each layer. nil before the first Begin.
	maxima, sums *tensor.Tensor
}

// watched is a Linear that a Watch looks at: its site has one.
type watched struct {
	by    *Watch
	first int // of the layer's slots
}

// NewWatch makes a Watch over all Linears below m that were converted. A model has one.
func NewWatch(m nn.Module) *Watch {
	w := &Watch{}
	for _, l := range Linears(m) {
		if k, ok := l.Linear.Caster.(*site); ok {
			k.watch = &watched{w, len(w.layers) * int(nn.NumRoles)}
			w.layers = append(w.layers, l)
		}
	}
	return w
}

// Begin has casts measured from here on: of the passes that c's stream is given after it.
func (w *Watch) Begin(c *nn.Ctx) {
	if w.maxima == nil {
		slots, pool := len(w.layers)*int(nn.NumRoles), c.Pool.Lasting()
		w.maxima, w.sums = pool.New(dtype.Float32, slots, device.NumCastMaxima), pool.New(dtype.Float32, slots, device.NumCastSums)
	}
	c.Stream.Zero(w.maxima)
	c.Stream.Zero(w.sums)
	w.on = true
}

// measure notes what src has become, on s: q, or its transpose where only that was
// made. It is called behind every cast of the layer.
func (k *watched) measure(s device.Stream, role nn.Role, src, q, turned tensor.Operand) {
	if k == nil || !k.by.on {
		return
	}
	if q.Tensor == nil {
		q = turned
	}
	slot := k.first + int(role)
	s.CastStats(k.by.maxima.Rows(slot, slot+1).View(device.NumCastMaxima), k.by.sums.Rows(slot, slot+1).View(device.NumCastSums), src, q)
}

// CastStats is what the casts of one operand of a layer have done on all ranks. Layers
// that share the cast of a common input have it under the first of them.
type CastStats struct {
	FQN                string
	Role               nn.Role
	Cast               Cast
	Amax               float64
	MinScale, MaxScale float64 // of ranks, rows or columns and microbatches
	Saturated          float64 // the part of the elements that was beyond the format's largest value
	Underflowed        float64 // the part that was not 0 and became it
	SQNR               float64 // dB, as SQNR
}

// End has no more casts measured. On all ranks of g, which is for c's stream, it brings
// the figures together, and returns what reads them once that stream has come so far.
func (w *Watch) End(c *nn.Ctx, g comm.Comm) (stats func() ([]CastStats, error)) {
	w.on = false
	// As bit patterns, whose maximum keeps NaN.
	g.AllReduce(c.Stream, comm.T(tensor.At(w.maxima.Buf, w.maxima.Off, dtype.Int32, w.maxima.Numel())), comm.Max)
	g.AllReduce(c.Stream, comm.T(w.sums), comm.Sum)
	maxima, sums := make([]float32, w.maxima.Numel()), make([]float32, w.sums.Numel())
	c.Stream.Download(device.Float32Bytes(maxima), w.maxima)
	c.Stream.Download(device.Float32Bytes(sums), w.sums)
	done := c.Stream.Record()
	return func() (all []CastStats, err error) {
		if err := done.Sync(); err != nil {
			return nil, err
		}
		for slot := range len(w.layers) * int(nn.NumRoles) {
			layer, role := w.layers[slot/int(nn.NumRoles)], nn.Role(slot%int(nn.NumRoles))
			most, sum := maxima[slot*device.NumCastMaxima:], sums[slot*device.NumCastSums:]
			n := float64(sum[device.CastCount])
			if n == 0 {
				continue // not cast: another layer's cast serves, or that of another role
			}
			least, largest := 1/most[device.CastMaxInv], most[device.CastMaxScale]
			if 1/largest == most[device.CastMaxInv] {
				least = largest // one scale, not its reciprocal's reciprocal
			}
			all = append(all, CastStats{
				FQN: layer.FQN, Role: role, Cast: layer.Linear.Caster.(*site).recipe.Cast[role],
				Amax: float64(most[device.CastAmax]), MinScale: float64(least), MaxScale: float64(largest),
				Saturated: float64(sum[device.CastSaturated]) / n, Underflowed: float64(sum[device.CastUnderflowed]) / n,
				SQNR: sqnr(float64(sum[device.CastSignal]), float64(sum[device.CastError])),
			})
		}
		return all, nil
	}
}
