// SPDX-License-Identifier: Apache-2.0

// Package llama is the Llama 3 family: the mathematics only, in torchtitan's
// names. It knows no parallelism and no float8; models/llama/plan adds them.
//
//	args, err := llama.Flavor("debugmodel")
//	model := llama.New(args, 512)               // shapes only, no memory
//	for name, p := range nn.Parameters(model) { // tok_embeddings.weight, layers.0.attention.wq.weight, …
//		fmt.Println(name, p.Shape)
//	}
//	logits := model.Forward(ctx, nn.Input(ids)) // ids int32 [B,S], logits [B,S,V]
package llama

import (
	"fmt"
	"iter"
	"math"

	"octet/nn"
)

// Model is the whole network.
type Model struct {
	nn.NoParams
	Args   Args
	Embed  nn.Module
	Layers []nn.Module
	Head   nn.Module // norm, then output
}

// New describes a model for sequences of up to seqLen positions.
func New(a Args, seqLen int) *Model {
	rope := &nn.RoPE{HeadDim: a.HeadDim(), MaxSeq: seqLen, Theta: a.RopeTheta}
	if a.ScaledRope {
		rope.Scaling = &nn.RoPEScaling{Factor: a.RopeFactor, LowFreq: a.RopeLowFreq, HighFreq: a.RopeHighFreq, OriginalMaxSeq: a.RopeOriginalMaxSeqLen}
	}
	start := nn.TruncatedNormal(1/math.Sqrt(float64(a.Dim)), 3)
	embed, output := nn.NewEmbedding(a.Vocab, a.Dim, nn.Normal(1)), linear(a.Dim, a.Vocab, start)
	if a.Tied { // what is looked up starts as what multiplies, or the first logits were √dim times too large
		embed.Weight.Init = start
		output.Weight = embed.Weight
	}
	norm := nn.NewRMSNorm(a.Dim, float32(a.NormEps))
	head := &nn.Sequential{Names: []string{"norm", "output"}, Modules: []nn.Module{norm, output}}
	norm.Reader = &head.Modules[1]
	m := &Model{Args: a, Embed: embed, Head: head}
	for i := range a.Layers {
		m.Layers = append(m.Layers, newBlock(a, i, rope))
	}
	nn.AssignNames(m)
	return m
}

// Children yields the embedding, the layers, and norm with output as a group.
func (m *Model) Children() iter.Seq2[string, *nn.Module] {
	slots := []nn.Slot{{Name: "tok_embeddings", At: &m.Embed}}
	for i := range m.Layers {
		slots = append(slots, nn.Slot{Name: fmt.Sprintf("layers.%d", i), At: &m.Layers[i]})
	}
	return nn.Slots(append(slots, nn.Slot{Name: "norm+output", At: &m.Head})...)
}

// Forward takes ids, int32 [B,S], to logits [B,S,V].
func (m *Model) Forward(c *nn.Ctx, ids *nn.Var) *nn.Var { return nn.Last(c, m.Head, m.Body(c, ids)) }

// Body is Forward without the head: [B,S,D].
func (m *Model) Body(c *nn.Ctx, ids *nn.Var) *nn.Var {
	x := m.Embed.Forward(c, ids)
	for _, l := range m.Layers {
		x = nn.Last(c, l, x)
	}
	return x
}

// Block is one transformer layer:
//
//	h   = x + attention(attention_norm(x))
//	out = h + feed_forward(ffn_norm(h))
type Block struct {
	nn.NoParams
	AttentionNorm, FFNNorm nn.Module
	Attention, FeedForward nn.Module
}

func newBlock(a Args, layer int, rope *nn.RoPE) *Block {
	q, kv := a.QDim(), a.KVDim()
	in := nn.Normal(0.02)
	// Matrices that write to the residual stream start smaller with depth.
	out := nn.Normal(0.02 / math.Sqrt(2*float64(layer+1)))
	attentionNorm, ffnNorm := nn.NewRMSNorm(a.Dim, float32(a.NormEps)), nn.NewRMSNorm(a.Dim, float32(a.NormEps))
	b := &Block{
		AttentionNorm: attentionNorm, FFNNorm: ffnNorm,
		Attention: &nn.Attention{
			WQ: linear(a.Dim, q, in), WK: linear(a.Dim, kv, in), WV: linear(a.Dim, kv, in), WO: linear(q, a.Dim, out),
			HeadDim: a.HeadDim(), RoPE: rope,
		},
		FeedForward: &nn.FeedForward{W1: linear(a.Dim, a.Hidden(), in), W2: linear(a.Hidden(), a.Dim, out), W3: linear(a.Dim, a.Hidden(), out)},
	}
	attentionNorm.Reader, ffnNorm.Reader = &b.Attention, &b.FeedForward
	return b
}

// Children yields attention_norm, ffn_norm, attention and feed_forward.
func (b *Block) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "attention_norm", At: &b.AttentionNorm}, nn.Slot{Name: "ffn_norm", At: &b.FFNNorm},
		nn.Slot{Name: "attention", At: &b.Attention}, nn.Slot{Name: "feed_forward", At: &b.FeedForward})
}

// Forward takes x [B,S,D] to [B,S,D].
func (b *Block) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	attended := nn.Last(c, b.Attention, b.AttentionNorm.Forward(c, x))
	h, normed := nn.AddNorm(c, b.FFNNorm, x, attended)
	attended.Done(c)
	fed := nn.Last(c, b.FeedForward, normed)
	out := nn.Add(c, h, fed)
	fed.Done(c)
	h.Done(c)
	return out
}

func linear(in, out int, init nn.Init) *nn.Linear {
	return nn.NewLinear(in, out, nn.LinearOptions{Init: init})
}
