// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"iter"
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Attention is causal self-attention with rotary positions and grouped
// queries: H query heads share KV key heads, as many as the widths of what WQ and WK
// return are times HeadDim. With a Ctx.Cache it attends also to what that has of
// positions before.
type Attention struct {
	NoParams
	WQ, WK, WV, WO Module
	HeadDim        int
	RoPE           *RoPE
}

// Children yields wq, wk, wv and wo.
func (a *Attention) Children() iter.Seq2[string, *Module] {
	return Slots(Slot{"wq", &a.WQ}, Slot{"wk", &a.WK}, Slot{"wv", &a.WV}, Slot{"wo", &a.WO})
}

// Forward takes x [B,S,D] to [B,S,D].
func (a *Attention) Forward(c *Ctx, x *Var) *Var {
	if c.Cache != nil {
		return a.forwardCached(c, x)
	}
	if len(x.Shape()) != 3 {
		panic(fmt.Sprintf("nn: attention to a value %v; want [B,S,D], all tokens of each sequence", x.Shape()))
	}
	b, s := x.Shape()[0], x.Shape()[1]
	q, k, v := a.WQ.Forward(c, x), a.WK.Forward(c, x), a.WV.Forward(c, x)
	table, width := a.RoPE.On(c, s), q.Shape()[2]
	heads := func(t *tensor.Tensor) *tensor.Tensor { return t.View(b, s, a.heads(t), a.HeadDim) }
	qh, kh, vh := heads(q.Keep()), heads(k.Keep()), heads(v.Keep())
	rotate := func(v *Var, h *tensor.Tensor) {
		if !v.again {
			c.Stream.RoPE(h, table, nil, false, nil)
		}
	}
	rotate(q, qh)
	rotate(k, kh)

	keeps := c.kept.keeps(attention)
	out, there := c.result(keeps, c.Act, b, s, width)
	lse, _ := c.result(keeps, dtype.Float32, b, width/a.HeadDim, s)
	o := c.op(func(o *Var) {
		dq, dk, dv := heads(q.newGrad(c)), heads(k.newGrad(c)), heads(v.newGrad(c))
		c.Stream.AttentionGrad(dq, dk, dv, heads(o.Grad().Tensor), qh, kh, vh, heads(o.Value.Tensor), lse, nil, nil, v.gradAmax(c))
		c.Stream.RoPE(dq, table, nil, true, q.gradAmax(c))
		c.Stream.RoPE(dk, table, nil, true, k.gradAmax(c))
		c.Pool.Free(lse)
	}, out)
	if oh := heads(o.Keep()); !there {
		c.Stream.Attention(oh, lse, qh, kh, vh, nil, nil, o.amaxFor(c, &a.WO))
	}
	c.saved(lse)
	q.Done(c)
	k.Done(c)
	v.Done(c)
	return Last(c, a.WO, o)
}

// heads is how many heads a value [..., H·HeadDim] has.
func (a *Attention) heads(t *tensor.Tensor) int {
	if t.Dim(-1)%a.HeadDim != 0 {
		panic(fmt.Sprintf("nn: attention over %v, which is not whole heads of %d", t, a.HeadDim))
	}
	return t.Dim(-1) / a.HeadDim
}

// RoPE is the table of rotary positions (arXiv 2104.09864), shared by all
// layers of a model. It is uploaded on first use and then stays.
type RoPE struct {
	HeadDim, MaxSeq int
	Theta           float64
	Scaling         *RoPEScaling // nil: none
	table           *tensor.Tensor
}

// RoPEScaling stretches low frequencies as Llama 3.1 does.
type RoPEScaling struct {
	Factor, LowFreq, HighFreq float64
	OriginalMaxSeq            int
}

// On is the table on c's device: float32 [MaxSeq, HeadDim/2, 2], for at least
// s positions.
func (r *RoPE) On(c *Ctx, s int) *tensor.Tensor {
	if s > r.MaxSeq {
		panic(fmt.Sprintf("nn: %d positions, but the RoPE table has %d", s, r.MaxSeq))
	}
	if r.table == nil {
		r.table = c.Pool.Lasting().New(dtype.Float32, r.MaxSeq, r.HeadDim/2, 2)
		if !c.Dry {
			c.Stream.Upload(r.table, device.Float32Bytes(r.Values()))
		}
	}
	return r.table
}

// Values computes the table: cosine and sine of position·frequency.
func (r *RoPE) Values() []float32 {
	half := r.HeadDim / 2
	out := make([]float32, 0, r.MaxSeq*half*2)
	freq := r.frequencies()
	for pos := range r.MaxSeq {
		for _, f := range freq {
			// The angle is a float32 product, as PyTorch's table has it.
			sin, cos := math.Sincos(float64(float32(pos) * f))
			out = append(out, float32(cos), float32(sin))
		}
	}
	return out
}

func (r *RoPE) frequencies() []float32 {
	freq := make([]float32, r.HeadDim/2)
	for i := range freq {
		f := 1 / math.Pow(r.Theta, float64(2*i)/float64(r.HeadDim))
		if sc := r.Scaling; sc != nil {
			f = sc.apply(f)
		}
		freq[i] = float32(f)
	}
	return freq
}

// apply divides low frequencies by Factor, leaves high ones, and blends
// between.
func (s *RoPEScaling) apply(f float64) float64 {
	waves := float64(s.OriginalMaxSeq) * f / (2 * math.Pi) // turns within the original context
	switch {
	case waves > s.HighFreq:
		return f
	case waves < s.LowFreq:
		return f / s.Factor
	}
	smooth := (waves - s.LowFreq) / (s.HighFreq - s.LowFreq)
	return (1-smooth)*f/s.Factor + smooth*f
}
