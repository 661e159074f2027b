// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
)

// heads is the shape of one attention: q [B,S,H,hd], k and v [B,S,KV,hd].
type heads struct{ b, s, h, kv, hd int }

func (a heads) q(b, t, h int) int { return ((b*a.s+t)*a.h + h) * a.hd }
func (a heads) k(b, t, h int) int { return ((b*a.s+t)*a.kv + h/(a.h/a.kv)) * a.hd }

// each calls f with the softmax row of every query.
func (a heads) each(q, k []float64, f func(b, i, h int, p []float64, lse float64)) {
	for b := range a.b {
		for h := range a.h {
			for i := range a.s {
				p := make([]float64, i+1)
				top := math.Inf(-1)
				for j := range p {
					p[j] = dot(q[a.q(b, i, h):][:a.hd], k[a.k(b, j, h):][:a.hd]) / math.Sqrt(float64(a.hd))
					top = max(top, p[j])
				}
				var sum float64
				for j := range p {
					p[j] = math.Exp(p[j] - top)
					sum += p[j]
				}
				for j := range p {
					p[j] /= sum
				}
				f(b, i, h, p, top+math.Log(sum))
			}
		}
	}
}

func (a heads) attention(q, k, v []float64) (o, lse []float64) {
	o, lse = make([]float64, len(q)), make([]float64, a.b*a.h*a.s)
	a.each(q, k, func(b, i, h int, p []float64, l float64) {
		lse[(b*a.h+h)*a.s+i] = l
		for j, w := range p {
			for c := range a.hd {
				o[a.q(b, i, h)+c] += w * v[a.k(b, j, h)+c]
			}
		}
	})
	return o, lse
}

// gradient is the textbook backward of attention.
func (a heads) gradient(do, q, k, v []float64) (dq, dk, dv []float64) {
	dq, dk, dv = make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
	a.each(q, k, func(b, i, h int, p []float64, _ float64) {
		at := a.q(b, i, h)
		dp, mean := make([]float64, len(p)), 0.0
		for j, w := range p {
			dp[j] = dot(do[at:][:a.hd], v[a.k(b, j, h):][:a.hd])
			mean += w * dp[j]
		}
		for j, w := range p {
			ds := w * (dp[j] - mean) / math.Sqrt(float64(a.hd))
			for c := range a.hd {
				kat := a.k(b, j, h) + c
				dq[at+c] += ds * k[kat]
				dk[kat] += ds * q[at+c]
				dv[kat] += w * do[at+c]
			}
		}
	})
	return dq, dk, dv
}

func attentionCases() []kernelCase {
	var all []kernelCase
	for _, a := range []heads{{0, 4, 1, 1, 8}, {1, 1, 1, 1, 2}, {2, 7, 4, 2, 6}, {1, 33, 2, 1, 8}, {2, 70, 4, 2, 16},
		{1, 130, 3, 1, 32}, {1, 67, 2, 2, 64}, {1, 40, 2, 1, 128}, {1, 300, 1, 1, 20}} {
		all = append(all, kernelCase{fmt.Sprintf("attention/%+v", a), func(h *harness) {
			for _, ty := range both {
				q, k, v := h.normal(ty, a.b, a.s, a.h, a.hd), h.normal(ty, a.b, a.s, a.kv, a.hd), h.normal(ty, a.b, a.s, a.kv, a.hd)
				do := h.normal(ty, a.b, a.s, a.h, a.hd)
				o, lse := h.out(ty, a.b, a.s, a.h, a.hd), h.out(dtype.Float32, a.b, a.h, a.s)
				h.Attention(o, lse, q.Tensor, k.Tensor, v.Tensor)
				wantO, wantL := a.attention(q.v, k.v, v.v)
				h.want(fmt.Sprint("o ", ty), o, wantO, tolerance(ty))
				h.want(fmt.Sprint("lse ", ty), lse, wantL, tolerance(dtype.Float32))
				dq, dk, dv := h.out(ty, q.Shape...), h.out(ty, k.Shape...), h.out(ty, v.Shape...)
				h.AttentionGrad(dq, dk, dv, do.Tensor, q.Tensor, k.Tensor, v.Tensor, o, lse)
				wantQ, wantK, wantV := a.gradient(do.v, q.v, k.v, v.v)
				// rowsum(do∘o) reads o rounded to its type, so its error is not dq's own.
				h.want(fmt.Sprint("dq ", ty), dq, wantQ, 8*tolerance(ty))
				h.want(fmt.Sprint("dk ", ty), dk, wantK, 8*tolerance(ty))
				h.want(fmt.Sprint("dv ", ty), dv, wantV, tolerance(ty))
			}
		}})
	}
	return append(all, kernelCase{"attention/finite differences", func(h *harness) {
		a := heads{1, 6, 4, 2, 4}
		ty := dtype.Float32
		q, k, v := h.normal(ty, a.b, a.s, a.h, a.hd), h.normal(ty, a.b, a.s, a.kv, a.hd), h.normal(ty, a.b, a.s, a.kv, a.hd)
		do := h.normal(ty, a.b, a.s, a.h, a.hd)
		o, lse := h.out(ty, q.Shape...), h.out(ty, a.b, a.h, a.s)
		dq, dk, dv := h.out(ty, q.Shape...), h.out(ty, k.Shape...), h.out(ty, v.Shape...)
		h.Attention(o, lse, q.Tensor, k.Tensor, v.Tensor)
		h.AttentionGrad(dq, dk, dv, do.Tensor, q.Tensor, k.Tensor, v.Tensor, o, lse)
		loss := func() float64 { o, _ := a.attention(q.v, k.v, v.v); return dot(do.v, o) }
		h.want("dq", dq, numericGrad(q.v, loss), tolerance(ty))
		h.want("dk", dk, numericGrad(k.v, loss), tolerance(ty))
		h.want("dv", dv, numericGrad(v.v, loss), tolerance(ty))
	}}, kernelCase{"attention/large scores", func(h *harness) {
		// Scores of hundreds: the running maximum must hold.
		a := heads{1, 80, 1, 1, 16}
		q, k, v := h.normal(dtype.Float32, 1, 80, 1, 16), h.normal(dtype.Float32, 1, 80, 1, 16), h.normal(dtype.Float32, 1, 80, 1, 16)
		for i := range q.v {
			q.v[i] *= 100
		}
		q = h.put(dtype.Float32, q.v, q.Shape...)
		o, lse := h.out(dtype.Float32, q.Shape...), h.out(dtype.Float32, 1, 1, 80)
		h.Attention(o, lse, q.Tensor, k.Tensor, v.Tensor)
		wantO, wantL := a.attention(q.v, k.v, v.v)
		h.want("o", o, wantO, 1e-4)
		h.want("lse", lse, wantL, tolerance(dtype.Float32))
	}})
}
