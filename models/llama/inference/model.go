// SPDX-License-Identifier: Apache-2.0

// Package inference runs a trained Llama on one device: Model.Generate continues a prompt, Model.Loss says how well it predicts a text.
//
//	m, err := inference.Open(dev, args, source, inference.Options{Name: path, MaxSeq: 512, Act: dtype.BFloat16})
//	err = m.Generate(inference.Request{Prompt: ids, MaxNew: 100}, func(t inference.Token) bool { fmt.Println(t.ID); return true })
//	nats, err := m.Loss(ids, 512)
//
// Weights are in memory once, in the type that they compute in, and are not sharded; what is computed is what training's forward computes.
package inference

import (
	"errors"
	"fmt"

	"octet/checkpoint"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fp8"
	"octet/models/llama"
	"octet/nn"
	"octet/parallel"
	"octet/tensor"
)

// Options of a Model.
type Options struct {
	Name   string     // of the weights, in errors
	MaxSeq int        // positions of the longest sequence
	Act    dtype.Type // of weights and activations: dtype.Float32 or dtype.BFloat16
	// Float8, where there is one, says which Linears compute in float8, and how; their weights are then kept so. Delayed casts are by their
	// tensors' own scales.
	Float8 *parallel.Float8
}

// Model is a Llama with its weights on a device.
type Model struct {
	args  llama.Args
	model *llama.Model
	ctx   *nn.Ctx
	opts  Options

	one *tensor.Tensor // float32 [1]
}

// Open loads the model of the given sizes from weights under octet's names, and closes those. Its error names every size and tensor that
// does not fit.
func Open(dev device.Device, a llama.Args, from checkpoint.Source, o Options) (*Model, error) {
	m := &Model{args: a, opts: o}
	err := a.Validate(o.MaxSeq)
	if err == nil {
		m.model = llama.New(a, o.MaxSeq)
		err = parallel.Plan{Float8: o.Float8}.Convert(m.root())
	}
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	var params []*nn.Param
	for _, p := range nn.Parameters(m.model) {
		params = append(params, p)
	}
	w, err := checkpoint.NewWeights(o.Name, from, params, a.Shared())
	if err != nil {
		return nil, err
	}
	pool := device.NewPool(dev)
	m.ctx = &nn.Ctx{Stream: dev.NewStream("compute"), Pool: pool, Act: o.Act, Mode: nn.Eval, Loss: pool.New(dtype.Float32, 1)}
	m.one = pool.New(dtype.Float32, 1)
	m.ctx.Scale = m.one
	m.ctx.Stream.Upload(m.one, device.Float32Bytes([]float32{1}))
	err = m.load(w, params)
	return m, errors.Join(err, w.Close())
}

// root is the model as a slot. A conversion changes Linears in their place.
func (m *Model) root() *nn.Module {
	var root nn.Module = m.model
	return &root
}

// load makes memory for the parameters, and fills it.
func (m *Model) load(w *checkpoint.Weights, params []*nn.Param) error {
	for i, p := range params {
		value := m.ctx.New(p.Shape...)
		p.Lend(&nn.Whole{Value: tensor.Operand{Tensor: value}})
		if err := m.read(w, i, p, value); err != nil {
			return err
		}
		if err := m.cast(p); err != nil {
			return err
		}
	}
	return m.ctx.Stream.Sync()
}

// pieceBytes is about how much of a parameter is on the host at once.
const pieceBytes = 4 << 20

// read fills value with parameter i, a piece at a time.
func (m *Model) read(w *checkpoint.Weights, i int, p *nn.Param, value *tensor.Tensor) error {
	s, rows := m.ctx.Stream, p.Shape[0]
	whole := dtensor.Whole(p.Shape)
	step := max(1, pieceBytes/(dtype.Float32.Size()*p.RowSize()))
	values := make([]float32, min(step, rows)*p.RowSize())
	for lo := 0; lo < rows; lo += step {
		hi := min(lo+step, rows)
		piece := values[:(hi-lo)*p.RowSize()]
		if err := w.Read(piece, i, whole.Rows(lo, hi)); err != nil {
			return err
		}
		shape := append([]int{hi - lo}, p.Shape[1:]...)
		staged := m.ctx.Pool.New(dtype.Float32, shape...)
		s.Upload(staged, device.Float32Bytes(piece))
		s.Copy(value.Rows(lo, hi), staged)
		m.ctx.Pool.Free(staged)
	}
	return s.Sync()
}

// cast keeps a weight as its Linear's forward wants it, where that is float8, and nothing else uses it. Emulation has no float8 operands.
func (m *Model) cast(p *nn.Param) error {
	if m.opts.Float8 == nil || m.opts.Float8.Config.Emulate || m.args.Shared()[p.Name] != "" {
		return nil
	}
	for _, l := range fp8.Linears(m.model) {
		if l.Linear.Weight != p || !fp8.Converted(l.Linear) {
			continue
		}
		before := p.Value()
		now, _ := l.Linear.Caster.Cast(m.ctx, before, nn.Weight, nn.NoRole)
		if now.Tensor == before.Tensor {
			return fmt.Errorf("inference: the weight of %s has no float8 form", l.FQN)
		}
		p.Lend(&nn.Whole{Value: now})
		m.ctx.Pool.Free(before.Tensor)
	}
	return nil
}

// Args are the sizes of the model.
func (m *Model) Args() llama.Args { return m.args }

// Loss is how badly the model predicts a text: the sum of -log p of every id but the first, in nats. Of each it sees what comes before in its
// window; windows of seqLen ids follow one another, as in training.
func (m *Model) Loss(ids []int32, seqLen int) (nats float64, err error) {
	c, s := m.ctx, m.ctx.Stream
	for at := 0; at+1 < len(ids); at += seqLen {
		n := min(seqLen, len(ids)-1-at)
		in, targets := m.upload(ids[at:at+n]), m.upload(ids[at+1:at+1+n])
		s.Zero(c.Loss)
		nn.CrossEntropy(c, m.model.Forward(c, nn.Input(in)), targets)
		var loss [1]float32
		s.Download(device.Float32Bytes(loss[:]), c.Loss)
		c.Pool.Free(in)
		c.Pool.Free(targets)
		if err := s.Sync(); err != nil {
			return 0, err
		}
		nats += float64(loss[0])
	}
	return nats, nil
}

// upload is ids on the device, int32 [1,S].
func (m *Model) upload(ids []int32) *tensor.Tensor {
	t := m.ctx.Pool.New(dtype.Int32, 1, len(ids))
	m.ctx.Stream.Upload(t, device.Int32Bytes(ids))
	return t
}
