// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"math"

	"octet/tensor"
)

// attnShape is the sizes of one attention: batch, queries and keys of a
// sequence, query heads, key heads and the width of a head.
type attnShape struct{ b, sq, sk, h, kv, hd int }

// attention is the arguments of the forward kernel. q and o are [B,Sq,H,hd],
// k and v [B,Sk,KV,hd], lse [B,H,Sq]. Positions ascend, so query i sees the
// first seen[i] keys, which are no fewer than those of the query before.
type attention struct {
	attnShape
	o, q, k, v vec
	lse        []float32
	seen       []int32
	amax       []uint32 // of what each key head [B,KV] writes: o, and of the gradient dv; nil: nobody wants it
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
func (s *Stream) Attention(o, lse, q, k, v, qpos, kpos, amax *tensor.Tensor) {
	must.Attention(o, lse, q, k, v, qpos, kpos, amax)
	shape := attnShapeOf(q, k)
	s.Call("attention", func() error {
		a := &attention{attnShape: shape, o: vecOf(o), q: vecOf(q), k: vecOf(k), v: vecOf(v), lse: f32s(lse), seen: scratchOf[int32](s, slotSeen, shape.sq)}
		if err := countSeen(a.seen, qpos, kpos, shape.sk); err != nil {
			return err
		}
		s.eachKeyHead(a, 2, amax, func(b, kv int, mem []float32) { s.dev.table.attend(a, b, kv, mem) })
		return nil
	})
}

// AttentionGrad is the gradient of Attention; see device.Kernels.
func (s *Stream) AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, qpos, kpos, amax *tensor.Tensor) {
	must.AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, qpos, kpos, amax)
	shape := attnShapeOf(q, k)
	s.Call("attention gradient", func() error {
		a := &attentionGrad{
			attention: attention{attnShape: shape, o: vecOf(o), q: vecOf(q), k: vecOf(k), v: vecOf(v), lse: f32s(lse), seen: scratchOf[int32](s, slotSeen, shape.sq)},
			dq:        vecOf(dq), dk: vecOf(dk), dv: vecOf(dv), do: vecOf(do),
		}
		if err := countSeen(a.seen, qpos, kpos, shape.sk); err != nil {
			return err
		}
		s.eachKeyHead(&a.attention, 5, amax, func(b, kv int, mem []float32) { s.dev.table.attendGrad(a, b, kv, mem) })
		return nil
	})
}

// countSeen sets how many of sk keys each query sees.
func countSeen(seen []int32, qpos, kpos *tensor.Tensor, sk int) error {
	if err := checkAscends("query", qpos); err != nil {
		return err
	}
	if err := checkAscends("key", kpos); err != nil {
		return err
	}
	n := 0
	for i := range seen {
		for n < sk && posAt(kpos, n) <= posAt(qpos, i) {
			n++
		}
		seen[i] = int32(n)
	}
	return nil
}

func checkAscends(of string, pos *tensor.Tensor) error {
	if pos == nil {
		return nil
	}
	least := int32(0)
	for t, p := range i32s(pos) {
		if p < least {
			return fmt.Errorf("position %d of %s %d is below %d; positions start at 0 and do not descend", p, of, t, least)
		}
		least = p
	}
	return nil
}

// eachKeyHead runs f for every key head of every sequence, each with room for
// copies of the head in float32, and makes the amax of what they write. A piece owns its key head:
// that is read once, and its gradient is summed in one order.
func (s *Stream) eachKeyHead(a *attention, copies int, amax *tensor.Tensor, f func(b, kv int, mem []float32)) {
	found := s.amaxesOf(amax, slotAmax, a.b*a.kv)
	clear(found.found)
	a.amax = found.found
	size := copies * count(a.sk, attnTile) * attnTile * count(a.hd, attnPad) * attnPad
	all := scratchOf[float32](s, slotPieces, s.workers.threads*size)
	idle := make(chan []float32, s.workers.threads)
	for i := range cap(idle) {
		idle <- all[i*size : (i+1)*size]
	}
	s.workers.run(a.b*a.kv, func(i int) {
		mem := <-idle
		f(i/a.kv, i%a.kv, mem)
		idle <- mem
	})
	found.join()
}

// attnShapeOf is of an attention whose arguments keep the contract.
func attnShapeOf(q, k *tensor.Tensor) attnShape {
	return attnShape{b: q.Dim(0), sq: q.Dim(1), sk: k.Dim(1), h: q.Dim(2), kv: k.Dim(2), hd: q.Dim(3)}
}

// qRow and kRow are where the row of a token and head starts in q and in k.
func (a attnShape) qRow(b, t, h int) int  { return ((b*a.sq+t)*a.h + h) * a.hd }
func (a attnShape) kRow(b, t, kv int) int { return ((b*a.sk+t)*a.kv + kv) * a.hd }

func (a attnShape) scale() float32 { return float32(1 / math.Sqrt(float64(a.hd))) }

// head is a row of hd values for every token.
type head []float32

func (h head) row(t, hd int) []float32 { return h[t*hd : (t+1)*hd] }

// keyHead copies key head kv of x to dst, which has as many elements.
func (a attnShape) keyHead(dst head, x vec, b, kv int) head {
	for t := range a.sk {
		readRow(dst.row(t, a.hd), x, a.kRow(b, t, kv))
	}
	return dst
}

func readRow(dst []float32, x vec, at int) {
	for c := range dst {
		dst[c] = x.at(at + c)
	}
}

func writeRow(x vec, at int, src []float32) vec {
	for c, v := range src {
		x.set(at+c, v)
	}
	return x.part(at, at+len(src))
}

// raise is the amax of key head kv of sequence b, with what it has written now.
func (a *attention) raise(b, kv int, written vec) {
	if a.amax != nil {
		most := &a.amax[b*a.kv+kv]
		*most = max(*most, amaxGo(written))
	}
}

func dotGo(x, y []float32) float32 {
	var even, odd float32
	y = y[:len(x)]
	i := 0
	for ; i+1 < len(x); i += 2 {
		even += x[i] * y[i]
		odd += x[i+1] * y[i+1]
	}
	if i < len(x) {
		even += x[i] * y[i]
	}
	return even + odd
}

// addScaledGo is y += w·x.
func addScaledGo(y []float32, w float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += w * x[i]
	}
}

// attendGo is all queries that read key head kv of sequence b. mem has room
// for two copies of the head in float32.
func attendGo(a *attention, b, kv int, mem []float32) {
	group, hd, n := a.h/a.kv, a.hd, a.sk*a.hd
	k, v := a.keyHead(mem[:n], a.k, b, kv), a.keyHead(mem[n:2*n], a.v, b, kv)
	p, q, out := make([]float32, a.sk), make([]float32, hd), make([]float32, hd)
	for h := kv * group; h < (kv+1)*group; h++ {
		for i := range a.sq {
			readRow(q, a.q, a.qRow(b, i, h))
			top := float32(math.Inf(-1))
			for j := range int(a.seen[i]) {
				p[j] = a.scale() * dotGo(q, k.row(j, hd))
				top = max(top, p[j])
			}
			var sum float64
			clear(out)
			for j := range int(a.seen[i]) {
				e := math.Exp(float64(p[j] - top))
				sum += e
				addScaledGo(out, float32(e), v.row(j, hd))
			}
			for c := range out {
				if a.seen[i] > 0 { // and not 0/0
					out[c] /= float32(sum)
				}
			}
			a.raise(b, kv, writeRow(a.o, a.qRow(b, i, h), out))
			a.lse[(b*a.h+h)*a.sq+i] = top + float32(math.Log(sum))
		}
	}
}

// attendGradGo is all queries that read key head kv of sequence b. With
// P = exp(scale·q·kᵀ - lse) and D = rowsum(do∘o): dv = Pᵀ·do,
// dS = P∘(do·vᵀ - D), dq = scale·dS·k, dk = scale·dSᵀ·q (arXiv 2205.14135,
// appendix B). mem has room for four copies of the head in float32.
func attendGradGo(a *attentionGrad, b, kv int, mem []float32) {
	group, hd, n, scale := a.h/a.kv, a.hd, a.sk*a.hd, a.scale()
	k, v := a.keyHead(mem[:n], a.k, b, kv), a.keyHead(mem[n:2*n], a.v, b, kv)
	dk, dv := head(mem[2*n:3*n]), head(mem[3*n:4*n])
	clear(dk)
	clear(dv)
	q, o, do, dq := make([]float32, hd), make([]float32, hd), make([]float32, hd), make([]float32, hd)
	for h := kv * group; h < (kv+1)*group; h++ {
		for i := range a.sq {
			at := a.qRow(b, i, h)
			readRow(q, a.q, at)
			readRow(o, a.o, at)
			readRow(do, a.do, at)
			lse, d := a.lse[(b*a.h+h)*a.sq+i], dotGo(do, o)
			clear(dq)
			for j := range int(a.seen[i]) {
				p := float32(math.Exp(float64(scale*dotGo(q, k.row(j, hd)) - lse)))
				ds := scale * p * (dotGo(do, v.row(j, hd)) - d)
				addScaledGo(dv.row(j, hd), p, do)
				addScaledGo(dk.row(j, hd), ds, q)
				addScaledGo(dq, ds, k.row(j, hd))
			}
			writeRow(a.dq, at, dq)
		}
	}
	for t := range a.sk {
		writeRow(a.dk, a.kRow(b, t, kv), dk.row(t, hd))
		a.raise(b, kv, writeRow(a.dv, a.kRow(b, t, kv), dv.row(t, hd)))
	}
}
