// SPDX-License-Identifier: Apache-2.0

package inference

import (
	"fmt"
	"math"
	"slices"

	"octet/device"
	"octet/dtype"
	"octet/nn"
)

// Request is what is to be generated.
type Request struct {
	Prompt   []int32 // one id at least
	MaxNew   int     // so many more at most
	Stop     []int   // an id that ends the text; it is given too
	Sampling Sampling
}

// Token is an id that was chosen, and the logarithm of the probability that the model gives it, whatever the sampling made of that.
type Token struct {
	ID      int32
	LogProb float64
}

// Generate continues a prompt and hands each token to yield as it comes, until that returns false.
func (m *Model) Generate(r Request, yield func(Token) bool) error {
	if err := m.check(r); err != nil {
		return err
	}
	s := m.NewSequence(len(r.Prompt) + r.MaxNew)
	next := r.Prompt
	for i := range r.MaxNew {
		logits, err := s.Add(next)
		if err != nil {
			return err
		}
		id, err := r.Sampling.pick(logits, uint64(i))
		if err != nil {
			return fmt.Errorf("inference: after %d tokens: %w", s.Len(), err)
		}
		if !yield(Token{int32(id), logProb(logits, id)}) || slices.Contains(r.Stop, id) {
			return nil
		}
		next = []int32{int32(id)}
	}
	return nil
}

func (m *Model) check(r Request) error {
	switch {
	case len(r.Prompt) == 0:
		return fmt.Errorf("inference: the prompt has no tokens; it needs one")
	case len(r.Prompt) >= m.opts.MaxSeq:
		return fmt.Errorf("inference: the prompt has %d tokens, and there are %d positions in all; cut it, or allow more", len(r.Prompt), m.opts.MaxSeq)
	case r.MaxNew < 0 || r.MaxNew > m.opts.MaxSeq-len(r.Prompt):
		return fmt.Errorf("inference: %d new tokens after a prompt of %d are not among the %d positions", r.MaxNew, len(r.Prompt), m.opts.MaxSeq)
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= m.args.Vocab {
			return fmt.Errorf("inference: token %d of the prompt is %d; the model's vocabulary has 0 to %d", i, id, m.args.Vocab-1)
		}
	}
	return r.Sampling.Check()
}

// Sequence is a text that grows. Of what it has, nothing is computed again.
type Sequence struct {
	m     *Model
	cache *nn.KVCache
}

// NewSequence is an empty text, of at most that many ids.
func (m *Model) NewSequence(most int) *Sequence { return &Sequence{m, nn.NewKVCache(most)} }

// Len is how many ids it has.
func (s *Sequence) Len() int { return s.cache.Len() }

// chunk is how many ids are computed at once, which bounds the memory that a long prompt takes.
const chunk = 256

// Add appends ids, one at least, and returns the logits of what follows, [V].
func (s *Sequence) Add(ids []int32) ([]float32, error) {
	m := s.m
	c, stream := m.ctx, m.ctx.Stream
	c.Cache = s.cache
	defer func() { c.Cache = nil }()
	for part := range slices.Chunk(ids[:len(ids)-1], chunk) {
		s.cache.Extend(len(part))
		in := m.upload(part)
		m.model.Body(c, nn.Input(in)).Done(c)
		c.Pool.Free(in)
	}
	s.cache.Extend(1)
	in := m.upload(ids[len(ids)-1:])
	out := m.model.Forward(c, nn.Input(in))
	wide := c.Pool.New(dtype.Float32, m.args.Vocab)
	stream.Copy(wide, out.Value.Tensor.View(m.args.Vocab))
	logits := make([]float32, m.args.Vocab)
	stream.Download(device.Float32Bytes(logits), wide)
	out.Done(c)
	c.Pool.Free(in)
	c.Pool.Free(wide)
	return logits, stream.Sync()
}

// logProb is log softmax(logits)[id].
func logProb(logits []float32, id int) float64 {
	most := float64(slices.Max(logits))
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - most)
	}
	return float64(logits[id]) - most - math.Log(sum)
}
