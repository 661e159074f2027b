// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/tensor"
)

// attnShape is the sizes of one attention: batch, sequence, query heads, key
// heads and the width of a head.
type attnShape struct{ b, s, h, kv, hd int }

// attention is the arguments of the forward kernel. q and o are [B,S,H,hd],
// k and v [B,S,KV,hd], lse [B,H,S].
type attention struct {
	attnShape
	o, q, k, v vec
	lse        []float32
}

// attentionGrad is the arguments of the backward kernel.
type attentionGrad struct {
	attention
	dq, dk, dv, do vec
}

// What the kernels in C round a sequence and the width of a head up to.
const (
	attnTile = 64
	attnPad  = 16
)

// Attention is causal attention; see device.Kernels.
func (s *Stream) Attention(o, lse, q, k, v *tensor.Tensor) {
	shape := checkAttention("Attention(o, lse float32 [B,H,S], q [B,S,H,hd], k, v [B,S,KV,hd])", lse, []*tensor.Tensor{q, o}, []*tensor.Tensor{k, v})
	s.do(func() {
		a := &attention{attnShape: shape, o: vecOf(o), q: vecOf(q), k: vecOf(k), v: vecOf(v), lse: f32s(lse)}
		s.eachKeyHead(shape, 2, func(b, kv int, mem []float32) { s.dev.table.attend(a, b, kv, mem) })
	})
}

// AttentionGrad is the gradient of Attention; see device.Kernels.
func (s *Stream) AttentionGrad(dq, dk, dv, do, q, k, v, o, lse *tensor.Tensor) {
	shape := checkAttention("AttentionGrad(dq, dk, dv, do, q [B,S,H,hd], k, v [B,S,KV,hd], o, lse float32 [B,H,S])",
		lse, []*tensor.Tensor{q, o, do, dq}, []*tensor.Tensor{k, v, dk, dv})
	s.do(func() {
		a := &attentionGrad{
			attention: attention{attnShape: shape, o: vecOf(o), q: vecOf(q), k: vecOf(k), v: vecOf(v), lse: f32s(lse)},
			dq:        vecOf(dq), dk: vecOf(dk), dv: vecOf(dv), do: vecOf(do),
		}
		s.eachKeyHead(shape, 4, func(b, kv int, mem []float32) { s.dev.table.attendGrad(a, b, kv, mem) })
	})
}

// eachKeyHead runs f for every key head of every sequence, each with room for
// copies of the head in float32. A piece owns its key head: that is read once,
// and its gradient is summed in one order.
func (s *Stream) eachKeyHead(a attnShape, copies int, f func(b, kv int, mem []float32)) {
	size := copies * count(a.s, attnTile) * attnTile * count(a.hd, attnPad) * attnPad
	all := scratchOf[float32](s, s.workers.threads*size)
	idle := make(chan []float32, s.workers.threads)
	for i := range cap(idle) {
		idle <- all[i*size : (i+1)*size]
	}
	s.workers.run(a.b*a.kv, func(i int) {
		mem := <-idle
		f(i/a.kv, i%a.kv, mem)
		idle <- mem
	})
}

func checkAttention(want string, lse *tensor.Tensor, qs, ks []*tensor.Tensor) attnShape {
	q, k := qs[0], ks[0]
	all := append(append([]*tensor.Tensor{lse}, qs...), ks...)
	must(len(q.Shape) == 4 && len(k.Shape) == 4 && sameShape(q, qs...) && sameShape(k, ks...) && isHP(all...), want, all...)
	a := attnShape{b: q.Dim(0), s: q.Dim(1), h: q.Dim(2), kv: k.Dim(2), hd: q.Dim(3)}
	must(k.Dim(0) == a.b && k.Dim(1) == a.s && k.Dim(3) == a.hd && a.kv > 0 && a.h%a.kv == 0 && isF32(lse, a.b*a.h*a.s), want, all...)
	return a
}

// qRow and kRow are where the row of a token and head starts in q and in k.
func (a attnShape) qRow(b, t, h int) int  { return ((b*a.s+t)*a.h + h) * a.hd }
func (a attnShape) kRow(b, t, kv int) int { return ((b*a.s+t)*a.kv + kv) * a.hd }

func (a attnShape) scale() float32 { return float32(1 / math.Sqrt(float64(a.hd))) }

func dotGo(x vec, i int, y vec, j, n int) float32 {
	var sum float32
	for c := range n {
		sum += x.at(i+c) * y.at(j+c)
	}
	return sum
}

// attendGo is all queries that read key head kv of sequence b. mem has room
// for two copies of the head in float32.
func attendGo(a *attention, b, kv int, mem []float32) {
	group, scale := a.h/a.kv, a.scale()
	p, out := make([]float32, a.s), mem[:a.hd]
	for h := kv * group; h < (kv+1)*group; h++ {
		for i := range a.s {
			top := float32(math.Inf(-1))
			for j := range i + 1 {
				p[j] = scale * dotGo(a.q, a.qRow(b, i, h), a.k, a.kRow(b, j, kv), a.hd)
				top = max(top, p[j])
			}
			var sum float64
			clear(out)
			for j := range i + 1 {
				e := float32(math.Exp(float64(p[j] - top)))
				sum += float64(e)
				for c := range out {
					out[c] += e * a.v.at(a.kRow(b, j, kv)+c)
				}
			}
			for c, v := range out {
				a.o.set(a.qRow(b, i, h)+c, v/float32(sum))
			}
			a.lse[(b*a.h+h)*a.s+i] = top + float32(math.Log(sum))
		}
	}
}

// attendGradGo is all queries that read key head kv of sequence b. With
// P = exp(scale·q·kᵀ - lse) and D = rowsum(do∘o): dv = Pᵀ·do,
// dS = P∘(do·vᵀ - D), dq = scale·dS·k, dk = scale·dSᵀ·q (arXiv 2205.14135,
// appendix B).
// mem has room for four copies of the head in float32.
func attendGradGo(a *attentionGrad, b, kv int, mem []float32) {
	group, hd, scale := a.h/a.kv, a.hd, a.scale()
	dk, dv, dq := mem[:a.s*hd], mem[a.s*hd:2*a.s*hd], mem[2*a.s*hd:][:hd]
	clear(dk)
	clear(dv)
	for h := kv * group; h < (kv+1)*group; h++ {
		for i := range a.s {
			q := a.qRow(b, i, h)
			lse := a.lse[(b*a.h+h)*a.s+i]
			d := dotGo(a.do, q, a.o, q, hd)
			clear(dq)
			for j := range i + 1 {
				k := a.kRow(b, j, kv)
				p := float32(math.Exp(float64(scale*dotGo(a.q, q, a.k, k, hd) - lse)))
				ds := scale * p * (dotGo(a.do, q, a.v, k, hd) - d)
				for c := range hd {
					dv[j*hd+c] += p * a.do.at(q+c)
					dk[j*hd+c] += ds * a.q.at(q+c)
					dq[c] += ds * a.k.at(k+c)
				}
			}
			for c, v := range dq {
				a.dq.set(q+c, v)
			}
		}
	}
	for j := range a.s {
		k := a.kRow(b, j, kv)
		for c := range hd {
			a.dk.set(k+c, dk[j*hd+c])
			a.dv.set(k+c, dv[j*hd+c])
		}
	}
}
