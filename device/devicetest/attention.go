// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
	"octet/tensor"
)

// heads is the shape of one attention, q [B,Sq,H,hd], k and v [B,Sk,KV,hd], and
// the positions of queries and keys (nil: 0, 1, …).
type heads struct {
	b, sq, sk, h, kv, hd int
	qpos, kpos           []float64
}

func (a heads) q(b, t, h int) int { return ((b*a.sq+t)*a.h + h) * a.hd }
func (a heads) k(b, t, h int) int { return ((b*a.sk+t)*a.kv + h/(a.h/a.kv)) * a.hd }

func position(pos []float64, t int) float64 {
	if pos == nil {
		return float64(t)
	}
	return pos[t]
}

// each calls f with the softmax row of every query: a value for every key, 0
// where it is hidden.
func (a heads) each(q, k []float64, f func(b, i, h int, p []float64, lse float64)) {
	for b := range a.b {
		for h := range a.h {
			for i := range a.sq {
				p, top, sum := make([]float64, a.sk), math.Inf(-1), 0.0
				for j := range p {
					p[j] = math.Inf(-1)
					if position(a.kpos, j) <= position(a.qpos, i) {
						p[j] = dot(q[a.q(b, i, h):][:a.hd], k[a.k(b, j, h):][:a.hd]) / math.Sqrt(float64(a.hd))
					}
					top = max(top, p[j])
				}
				if math.IsInf(top, -1) {
					f(b, i, h, make([]float64, a.sk), top)
					continue
				}
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
	o, lse = make([]float64, len(q)), make([]float64, a.b*a.h*a.sq)
	a.each(q, k, func(b, i, h int, p []float64, l float64) {
		lse[(b*a.h+h)*a.sq+i] = l
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

// bf16Rounding is the most that rounding to bf16 changes a value by, of its size, u = 2^-8, and what
// is below a hundredth of it: float32's part, and the rounding of what was rounded.
const bf16Rounding = 1.01 / 256

// bound is how far o of bf16 may be from want on a device that rounds P to bf16 for its product with v:
// u·Σ P·|v|, and its own rounding.
func (a heads) bound(want, q, k, v []float64) []float64 {
	b := make([]float64, len(v))
	for i, x := range v {
		b[i] = math.Abs(x)
	}
	b, _ = a.attention(q, k, b)
	for i, x := range want {
		b[i] = bf16Rounding * (b[i] + math.Abs(x))
	}
	return b
}

// gradientBounds are how far dq, dk and dv of bf16 may be from gradient's on a device that rounds P and
// dS to bf16 for the products that read them. It also reads o rounded, off by u·Σ_j P·|v| at most, so
// D_i = Σ_c do·o is off by e_i = Σ_c |do|·that, dS_ij by P·e_i and, as it is rounded, by u·|dS|, and P by
// u·P. What these are multiplied by is exact, and the sums' errors are the sums of theirs; outputs are rounded.
func (a heads) gradientBounds(dq, dk, dv, do, q, k, v []float64) (bq, bk, bv []float64) {
	bq, bk, bv = make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
	a.each(q, k, func(b, i, h int, p []float64, _ float64) {
		at := a.q(b, i, h)
		dp, mean, e := make([]float64, len(p)), 0.0, 0.0
		for j, w := range p {
			dp[j] = dot(do[at:][:a.hd], v[a.k(b, j, h):][:a.hd])
			mean += w * dp[j]
		}
		for c := range a.hd {
			for j, w := range p {
				e += bf16Rounding * math.Abs(do[at+c]) * w * math.Abs(v[a.k(b, j, h)+c])
			}
		}
		for j, w := range p {
			ds := w * (bf16Rounding*math.Abs(dp[j]-mean) + e) / math.Sqrt(float64(a.hd))
			for c := range a.hd {
				kat := a.k(b, j, h) + c
				bq[at+c] += ds * math.Abs(k[kat])
				bk[kat] += ds * math.Abs(q[at+c])
				bv[kat] += bf16Rounding * w * math.Abs(do[at+c])
			}
		}
	})
	outs := [][]float64{dq, dk, dv}
	for i, bound := range [][]float64{bq, bk, bv} {
		for j, x := range outs[i] {
			bound[j] += bf16Rounding * math.Abs(x)
		}
	}
	return bq, bk, bv
}

// attended is one attention on the device, inputs and outputs.
type attended struct {
	heads
	q, k, v, do input
	qpos, kpos  *tensor.Tensor
	o, lse      *tensor.Tensor
	dq, dk, dv  *tensor.Tensor
}

func newAttended(h *harness, ty dtype.Type, a heads) *attended {
	return &attended{
		heads: a,
		q:     h.normal(ty, a.b, a.sq, a.h, a.hd), k: h.normal(ty, a.b, a.sk, a.kv, a.hd), v: h.normal(ty, a.b, a.sk, a.kv, a.hd),
		do: h.normal(ty, a.b, a.sq, a.h, a.hd), qpos: h.positions(a.qpos), kpos: h.positions(a.kpos),
		o: h.out(ty, a.b, a.sq, a.h, a.hd), lse: h.out(dtype.Float32, a.b, a.h, a.sq),
		dq: h.out(ty, a.b, a.sq, a.h, a.hd), dk: h.out(ty, a.b, a.sk, a.kv, a.hd), dv: h.out(ty, a.b, a.sk, a.kv, a.hd),
	}
}

// positions uploads int32 positions; nil stays nil.
func (h *harness) positions(pos []float64) *tensor.Tensor {
	if pos == nil {
		return nil
	}
	return h.put(dtype.Int32, pos, len(pos)).Tensor
}

func (x *attended) forward(h *harness) {
	h.Attention(x.o, x.lse, x.q.Tensor, x.k.Tensor, x.v.Tensor, x.qpos, x.kpos, nil)
}

func (x *attended) backward(h *harness) {
	h.AttentionGrad(x.dq, x.dk, x.dv, x.do.Tensor, x.q.Tensor, x.k.Tensor, x.v.Tensor, x.o, x.lse, x.qpos, x.kpos, nil)
}

func (x *attended) wantForward(h *harness, what string, tol float64) {
	o, lse := x.attention(x.q.v, x.k.v, x.v.v)
	h.want("o "+what, x.o, o, tol)
	if x.o.Type == dtype.BFloat16 && h.roundsP != nil && h.roundsP(x.hd) {
		h.within(x.bound(o, x.q.v, x.k.v, x.v.v))
	}
	h.want("lse "+what, x.lse, lse, tolerance(dtype.Float32))
}

// upTo are n positions from first on.
func upTo(first, n int) []float64 {
	pos := make([]float64, n)
	for i := range pos {
		pos[i] = float64(first + i)
	}
	return pos
}

// rising are n positions from first on with random steps below step; 1: all
// alike.
func (h *harness) rising(first, n, step int) []float64 {
	pos := make([]float64, n)
	for i := range pos {
		pos[i] = float64(first)
		first += h.rand.IntN(step)
	}
	return pos
}

func attentionCases() []kernelCase {
	var all []kernelCase
	for _, a := range []heads{
		{0, 4, 4, 1, 1, 8, nil, nil}, {1, 1, 1, 1, 1, 2, nil, nil}, {2, 7, 7, 4, 2, 6, nil, nil}, {1, 33, 33, 2, 1, 8, nil, nil}, {2, 70, 70, 4, 2, 16, nil, nil},
		{1, 130, 130, 3, 1, 32, nil, nil}, {1, 67, 67, 2, 2, 64, nil, nil}, {1, 40, 40, 2, 1, 128, nil, nil}, {1, 300, 300, 1, 1, 20, nil, nil},
		// Positions of one side, gaps, equal ones, queries that see nothing, or all.
		{1, 5, 9, 2, 1, 7, nil, nil}, {2, 9, 5, 2, 2, 33, nil, nil}, {1, 1, 20, 4, 2, 16, upTo(19, 1), nil}, {2, 5, 20, 4, 2, 6, upTo(15, 5), nil},
		{1, 4, 7, 2, 1, 8, []float64{3, 4, 90, 91}, []float64{0, 2, 3, 50, 90, 91, 200}}, {1, 4, 6, 1, 1, 5, []float64{2, 2, 2, 7}, []float64{0, 2, 2, 3, 7, 7}},
		{2, 16, 4, 2, 1, 8, nil, upTo(3, 4)}, {1, 6, 4, 2, 1, 8, nil, upTo(6, 4)}, {1, 3, 0, 2, 1, 8, nil, nil}, {1, 0, 3, 2, 1, 8, nil, nil},
		{1, 70, 150, 2, 1, 16, upTo(80, 70), nil}, {1, 64, 128, 2, 1, 16, upTo(64, 64), nil}, {1, 65, 63, 2, 1, 24, upTo(100, 65), nil}, {1, 140, 90, 2, 1, 8, nil, upTo(50, 90)},
		// Heads of 64 and 128, which devices have kernels of their own for: tiles that are full, that lack one and that have one, and groups.
		{1, 64, 64, 1, 1, 64, nil, nil}, {2, 129, 129, 4, 2, 64, nil, nil}, {1, 63, 127, 3, 1, 128, upTo(64, 63), nil}, {1, 1, 70, 4, 1, 128, upTo(69, 1), nil},
		{2, 140, 90, 2, 2, 64, nil, upTo(50, 90)}, {1, 65, 63, 2, 1, 128, upTo(100, 65), nil}, {2, 3, 0, 2, 1, 64, nil, nil}, {2, 0, 3, 2, 1, 128, nil, nil},
		{1, 70, 130, 2, 1, 64, nil, upTo(0, 130)}, {1, 5, 66, 2, 1, 64, []float64{0, 1, 1, 64, 300}, nil},
	} {
		all = append(all, attentionCase(fmt.Sprintf("attention/%+v", a), func(*harness) heads { return a }))
	}
	for i := range 12 {
		all = append(all, attentionCase(fmt.Sprint("attention/random positions ", i), func(h *harness) heads {
			sq, sk := 1+h.rand.IntN(150), 1+h.rand.IntN(200)
			first, step := h.rand.IntN(120), 1+h.rand.IntN(4)
			return heads{1, sq, sk, 2, 1 + i%2, 1 + h.rand.IntN(20), h.rising(h.rand.IntN(120), sq, 5-step), h.rising(first, sk, step)}
		}))
	}
	for i := range 4 {
		all = append(all, attentionCase(fmt.Sprint("attention/random positions of large heads ", i), func(h *harness) heads {
			sq, sk := 1+h.rand.IntN(150), 1+h.rand.IntN(150)
			return heads{1, sq, sk, 2, 1 + i%2, 64 << (i / 2), h.rising(h.rand.IntN(100), sq, 1+h.rand.IntN(4)), h.rising(h.rand.IntN(60), sk, 1+h.rand.IntN(4))}
		}))
	}
	return append(all, kernelCase{"attention/finite differences", func(h *harness) {
		for i, a := range []heads{{1, 6, 6, 4, 2, 4, nil, nil}, {1, 3, 8, 4, 2, 4, []float64{1, 6, 9}, []float64{1, 2, 3, 5, 6, 7, 9, 10}}} {
			ty := dtype.Float32
			x := newAttended(h, ty, a)
			x.forward(h)
			x.backward(h)
			loss := func() float64 { o, _ := a.attention(x.q.v, x.k.v, x.v.v); return dot(x.do.v, o) }
			h.want(fmt.Sprint("dq ", i), x.dq, numericGrad(x.q.v, loss), tolerance(ty))
			h.want(fmt.Sprint("dk ", i), x.dk, numericGrad(x.k.v, loss), tolerance(ty))
			h.want(fmt.Sprint("dv ", i), x.dv, numericGrad(x.v.v, loss), tolerance(ty))
		}
	}}, kernelCase{"attention/large scores", func(h *harness) {
		// Scores of hundreds: what P is relative to must follow them, from tile to tile.
		for i, ty := range both {
			x := newAttended(h, ty, heads{1, 160, 160, 1, 1, []int{16, 64}[i], nil, nil})
			for i := range x.q.v {
				x.q.v[i] *= 100
			}
			x.q = h.put(ty, x.q.v, x.q.Shape...)
			x.forward(h)
			x.wantForward(h, fmt.Sprint(ty), max(1e-4, tolerance(ty)))
		}
	}}, cacheCase(), ringCase())
}

// attentionCase compares attention and its gradient with the oracle.
func attentionCase(name string, shape func(h *harness) heads) kernelCase {
	return kernelCase{name, func(h *harness) {
		a := shape(h)
		if h.tooLong(a.b * a.h * a.sq * a.sk * a.hd) {
			return
		}
		for _, ty := range both {
			x := newAttended(h, ty, a)
			x.forward(h)
			x.wantForward(h, fmt.Sprint(ty), tolerance(ty))
			x.backward(h)
			dq, dk, dv := a.gradient(x.do.v, x.q.v, x.k.v, x.v.v)
			outs, wants, bounds := []*tensor.Tensor{x.dq, x.dk, x.dv}, [][]float64{dq, dk, dv}, make([][]float64, 3)
			if ty == dtype.BFloat16 {
				bounds[0], bounds[1], bounds[2] = a.gradientBounds(dq, dk, dv, x.do.v, x.q.v, x.k.v, x.v.v)
			}
			for i, tol := range []float64{8, 8, 1} { // in float32, rowsum(do∘o) cancels in the first two
				h.want(fmt.Sprint([]string{"dq ", "dk ", "dv "}[i], ty), outs[i], wants[i], tol*tolerance(ty))
				h.within(bounds[i])
			}
		}
	}}
}
