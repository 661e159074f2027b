// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"
	"slices"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// delayedCases are those of delayed scaling.
func delayedCases() []kernelCase {
	all := []kernelCase{{"record cast/records", records}, {"record cast/many pieces", func(h *harness) {
		// The largest value lies in each piece in turn.
		for at := 0; at < 100_000; at += 9973 {
			x := h.normal(dtype.BFloat16, 100_000)
			x.v[at] = -77
			x = h.put(dtype.BFloat16, x.v, len(x.v))
			q, given, record := h.recorded(dtype.Float8E4M3, 3, float64(device.Unseen), len(x.v))
			h.RecordCast(q, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor}, given, record)
			h.want(fmt.Sprint("record of ", at), record, []float64{77}, 0)
		}
	}}}
	for _, n := range sizes {
		all = append(all, kernelCase{fmt.Sprintf("record cast/%d", n), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x := h.mixture(from, n)
				for _, keeps := range []bool{true, false} {
					q, given, record := h.recorded(to, 149.33333, float64(device.Unseen), n)
					want := largest(x.v)
					if !keeps {
						record = nil
					}
					h.RecordCast(q, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor}, given, record)
					h.want(fmt.Sprint(name, " ", keeps), q.Tensor, encodeScaled(to.Format(), x.v, 149.33333), 0)
					h.want(fmt.Sprint(name, " scale ", keeps), q.Scale, []float64{float64(float32(149.33333))}, 0)
					h.want(fmt.Sprint(name, " reciprocal ", keeps), q.Inv, []float64{float64(1 / float32(149.33333))}, 0)
					if keeps {
						h.want(name+" record", record, []float64{want}, 0)
					}
				}
			})
		}})
	}
	for _, s := range [][2]int{{0, 3}, {1, 1}, {5, 3}, {65, 130}, {300, 48}} {
		rows, cols := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("record cast transposed/%dx%d", rows, cols), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x := h.mixture(from, rows, cols)
				want := encodeScaled(to.Format(), x.v, 0.1)
				for _, both := range []bool{true, false} {
					q, given, record := h.recorded(to, 0.1, float64(device.Unseen), rows, cols)
					qT := tensor.Operand{Tensor: h.out(to, cols, rows), Scale: q.Scale, Inv: q.Inv, Transposed: true}
					if !both {
						q = tensor.Operand{}
					}
					h.RecordCast(q, qT, tensor.Operand{Tensor: x.Tensor}, given, record)
					if both {
						h.want(name, q.Tensor, want, 0)
					}
					h.want(fmt.Sprint(name, " transposed ", both), qT.Tensor, transposed(want, rows, cols), 0)
					h.want(fmt.Sprint(name, " scale ", both), qT.Scale, []float64{float64(float32(0.1))}, 0)
					h.want(fmt.Sprint(name, " record ", both), record, []float64{largest(x.v)}, 0)
				}
			})
		}})
	}
	for _, length := range []int{1, 2, 4, 16} {
		all = append(all, kernelCase{fmt.Sprintf("sync histories/%d", length), func(h *harness) { h.histories(length) }})
	}
	return all
}

// recorded is what a cast with a record writes and reads: the result with its scale, the
// scale that is given, and the record.
func (h *harness) recorded(to dtype.Type, scale float32, seen float64, shape ...int) (q, given tensor.Operand, record *tensor.Tensor) {
	one := func(v float32) *tensor.Tensor { return h.put(dtype.Float32, []float64{float64(v)}).Tensor }
	return tensor.Operand{Tensor: h.out(to, shape...), Scale: h.out(dtype.Float32), Inv: h.out(dtype.Float32)},
		tensor.Operand{Scale: one(scale), Inv: one(1 / scale)}, h.put(dtype.Float32, []float64{seen}).Tensor
}

// records: the larger of what was seen and what is there now, and NaN above all.
func records(h *harness) {
	nan, inf, unseen := math.NaN(), math.Inf(1), float64(device.Unseen)
	for i, c := range []struct {
		before float64
		x      []float64
		after  float64
	}{
		{unseen, nil, 0}, {unseen, []float64{0, math.Copysign(0, -1)}, 0}, {unseen, []float64{1e-40, 0}, float64(float32(1e-40))},
		{2, []float64{1, -1.5}, 2}, {2, []float64{1, -2.5}, 2.5}, {2, nil, 2},
		{2, []float64{1, math.Inf(-1)}, inf}, {inf, []float64{3}, inf}, {inf, []float64{nan, 1}, nan}, {nan, []float64{inf}, nan}, {unseen, []float64{-nan}, nan},
	} {
		x := h.put(dtype.Float32, c.x, len(c.x))
		q, given, record := h.recorded(dtype.Float8E5M2, 1, c.before, len(c.x))
		given.Scale, given.Inv = q.Scale, q.Inv // may be the same memory
		h.Copy(q.Scale, h.put(dtype.Float32, []float64{4}).Tensor)
		h.RecordCast(q, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor}, given, record)
		h.want(fmt.Sprint("record ", i), record, []float64{c.after}, 0)
		h.want(fmt.Sprint("codes ", i), q.Tensor, encodeScaled(dtype.Float8E5M2.Format(), x.v, 4), 0)
	}
}

// histories runs a dozen syncs of random records, those that were not seen and those that
// are not finite among them, beside lists in Go.
func (h *harness) histories(length int) {
	const n = 7
	unseen := float64(device.Unseen)
	for _, pow2 := range []bool{false, true} {
		formats := make([]dtype.Type, n)
		want := make([][]float64, n) // the newest first
		amax, scale, inv, bad := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			formats[i] = []dtype.Type{dtype.Float8E4M3, dtype.Float8E5M2}[i%2]
			want[i] = make([]float64, length)
			amax[i], scale[i], inv[i] = 448, 1, 1
		}
		put := func(v []float64) *tensor.Tensor { return h.put(dtype.Float32, v, n).Tensor }
		state := device.AmaxHistories{
			Record: put(amax), Amax: put(amax), Scale: put(scale), Inv: put(inv), Formats: formats, Pow2: pow2,
			History: h.put(dtype.Float32, make([]float64, n*length), n, length).Tensor, NotFinite: h.put(dtype.Int32, bad, n).Tensor,
		}
		for step := range 12 {
			records := make([]float64, n)
			for i := range records {
				records[i] = float64(float32(math.Exp(4 * h.rand.NormFloat64())))
				switch h.rand.IntN(6) {
				case 0:
					records[i] = []float64{unseen, 0, math.Inf(1), math.NaN()}[h.rand.IntN(4)]
				case 1:
					records[i] = unseen
				}
				switch r := records[i]; {
				case r == unseen:
				case math.IsNaN(r) || math.IsInf(r, 0):
					bad[i]++
				default:
					want[i] = append([]float64{r}, want[i][:length-1]...)
					amax[i] = r
					s := formats[i].Format().Scale(float32(slices.Max(want[i])), pow2)
					scale[i], inv[i] = float64(s), float64(1/s)
				}
			}
			h.Copy(state.Record, put(records))
			h.SyncHistories(state)
			name := func(what string) string { return fmt.Sprintf("%s %v, step %d", what, pow2, step) }
			for _, c := range []struct {
				what string
				t    *tensor.Tensor
				want []float64
			}{
				{"history", state.History, slices.Concat(want...)}, {"amax", state.Amax, amax}, {"scale", state.Scale, scale},
				{"reciprocal", state.Inv, inv}, {"not finite", state.NotFinite, bad}, {"record", state.Record, slices.Repeat([]float64{unseen}, n)},
			} {
				got := h.out(c.t.Type, c.t.Shape...)
				h.Copy(got, c.t)
				h.want(name(c.what), got, slices.Clone(c.want), 0)
			}
		}
	}
}
