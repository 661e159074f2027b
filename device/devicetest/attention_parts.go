// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
)

// cacheCase feeds tokens in chunks to a growing cache of keys and values, as
// generation does, and wants what one pass gives.
func cacheCase() kernelCase {
	const tokens, h0, kv, hd, tol = 16, 4, 2, 6, 1e-6
	return kernelCase{"attention/chunks against a cache", func(h *harness) {
		f32 := dtype.Float32
		table := h.normal(f32, 2*tokens, hd/2, 2)
		x := newAttended(h, f32, heads{1, tokens, tokens, h0, kv, hd, nil, nil})
		q, k := h.put(f32, x.q.v, tokens, h0, hd), h.put(f32, x.k.v, tokens, kv, hd)
		h.RoPE(x.q.Tensor, table.Tensor, nil, false, nil)
		h.RoPE(x.k.Tensor, table.Tensor, nil, false, nil)
		x.forward(h)
		wantO, wantL := h.values(x.o), h.values(x.lse)
		v := x.v.View(tokens, kv, hd)
		for _, chunk := range []int{1, 3, 5, 7} {
			keys := h.put(f32, k.v, tokens, kv, hd)
			for lo := 0; lo < tokens; lo += chunk {
				hi := min(tokens, lo+chunk)
				pos := h.positions(upTo(lo, hi-lo))
				part := h.put(f32, q.v[lo*h0*hd:hi*h0*hd], 1, hi-lo, h0, hd)
				h.RoPE(part.Tensor, table.Tensor, pos, false, nil)
				h.RoPE(keys.Rows(lo, hi).View(1, hi-lo, kv, hd), table.Tensor, pos, false, nil)
				o, lse := h.out(f32, part.Shape...), h.out(f32, 1, h0, hi-lo)
				h.Attention(o, lse, part.Tensor, keys.Rows(0, hi).View(1, hi, kv, hd), v.Rows(0, hi).View(1, hi, kv, hd), pos, nil, nil)
				h.want(fmt.Sprintf("o of tokens %d to %d", lo, hi), o, wantO[lo*h0*hd:hi*h0*hd], tol)
				h.want(fmt.Sprintf("lse of tokens %d to %d", lo, hi), lse, columns(wantL, tokens, lo, hi), tol)
			}
		}
	}}
}

// ringCase cuts the keys into parts that are attended one by one, as the ranks
// of a ring do, merges (o, lse), and sums the parts' gradients.
func twice(v []float64) []float64 {
	for i := range v {
		v[i] *= 2
	}
	return v
}

func ringCase() kernelCase {
	a := heads{2, 90, 90, 4, 2, 8, nil, nil}
	var even, odd []int
	for t := range a.sk {
		if t%2 == 0 {
			even = append(even, t)
		} else {
			odd = append(odd, t)
		}
	}
	halves := make([][]int, 2)
	for t := range a.sk {
		halves[t/(a.sk/2)] = append(halves[t/(a.sk/2)], t)
	}
	return kernelCase{"attention/parts of the keys merge to the whole", func(h *harness) {
		for i, parts := range [][][]int{halves, {even, odd}} {
			for _, ty := range both {
				whole := newAttended(h, ty, a)
				wantO, wantL := a.attention(whole.q.v, whole.k.v, whole.v.v)
				dq, dk, dv := a.gradient(whole.do.v, whole.q.v, whole.k.v, whole.v.v)
				var ring []*attended
				for _, tokens := range parts {
					ring = append(ring, whole.part(h, ty, tokens))
				}
				name := fmt.Sprintf("%d %v", i, ty)
				o, lse := merge(h, a, ring)
				whole.o, whole.lse = h.put(ty, o, whole.o.Shape...).Tensor, h.put(dtype.Float32, lse, whole.lse.Shape...).Tensor
				// Parts are rounded, and their sum: twice as often as a whole.
				var bq, bk, bv []float64
				if ty == dtype.BFloat16 {
					bq, bk, bv = a.gradientBounds(dq, dk, dv, whole.do.v, whole.q.v, whole.k.v, whole.v.v)
					bq, bk, bv = twice(bq), twice(bk), twice(bv)
				}
				h.want("o "+name, whole.o, wantO, 2*tolerance(ty))
				h.want("lse "+name, whole.lse, wantL, tolerance(dtype.Float32))
				sum := make([]float64, len(dq))
				for r, x := range ring {
					x.o, x.lse = whole.o, whole.lse
					x.backward(h)
					for c, g := range h.values(x.dq) {
						sum[c] += g
					}
					h.want(fmt.Sprintf("dk %s part %d", name, r), x.dk, a.keys(dk, parts[r]), 16*tolerance(ty))
					h.within(a.keys(bk, parts[r]))
					h.want(fmt.Sprintf("dv %s part %d", name, r), x.dv, a.keys(dv, parts[r]), 2*tolerance(ty))
					h.within(a.keys(bv, parts[r]))
				}
				h.want("dq "+name, h.put(ty, sum, whole.dq.Shape...).Tensor, dq, 16*tolerance(ty))
				h.within(bq)
			}
		}
	}}
}

// keys are the rows of k at tokens.
func (a heads) keys(k []float64, tokens []int) []float64 {
	if k == nil {
		return nil
	}
	var part []float64
	for b := range a.b {
		for _, t := range tokens {
			at := a.k(b, t, 0)
			part = append(part, k[at:at+a.kv*a.hd]...)
		}
	}
	return part
}

// part attends to the keys of some tokens alone.
func (x *attended) part(h *harness, ty dtype.Type, tokens []int) *attended {
	a := x.heads
	a.sk, a.kpos = len(tokens), nil
	for _, t := range tokens {
		a.kpos = append(a.kpos, float64(t))
	}
	p := newAttended(h, ty, a)
	p.q, p.do = x.q, x.do
	p.k, p.v = h.put(ty, x.keys(x.k.v, tokens), p.k.Shape...), h.put(ty, x.keys(x.v.v, tokens), p.v.Shape...)
	p.forward(h)
	return p
}

// merge is lse = log Σ exp(lse_part), o = Σ exp(lse_part - lse)·o_part.
func merge(h *harness, a heads, parts []*attended) (o, lse []float64) {
	o, lse = make([]float64, a.b*a.sq*a.h*a.hd), make([]float64, a.b*a.h*a.sq)
	for _, x := range parts {
		for i, l := range h.values(x.lse) {
			lse[i] += math.Exp(l)
		}
	}
	for i := range lse {
		lse[i] = math.Log(lse[i])
	}
	for _, x := range parts {
		part, l := h.values(x.o), h.values(x.lse)
		for b := range a.b {
			for t := range a.sq {
				for head := range a.h {
					row := (b*a.h+head)*a.sq + t
					for c := range a.hd {
						o[a.q(b, t, head)+c] += math.Exp(l[row]-lse[row]) * part[a.q(b, t, head)+c]
					}
				}
			}
		}
	}
	return o, lse
}
