// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/internal/rng"
	"octet/tensor"
)

// Param is a parameter: its shape and how it starts are structure, known
// before any memory exists; the tensors are set by whoever shards it (package
// fsdp) and exist on one rank.
//
// Invariants: Shard and Grad have the same shape [c, ...], padded with zero rows
// so that it is equal on all ranks; only the first LocalRows rows are real.
// Whoever writes to Shard says so (Written).
type Param struct {
	Name  string // fully qualified, by AssignNames
	Shape []int
	Init  Init
	// Wire is how a shard travels when it is gathered; nil means in the type of
	// activations. Conversion to float8 may set it.
	Wire comm.Wire

	Shard, Grad          *tensor.Tensor // float32 [c, ...], the local tensor of a DTensor placed Shard(0)
	RowOffset, LocalRows int            // the real rows within the whole

	whole  *Whole
	writes uint64
}

// Whole is a parameter between gather and free, FSDP2's unsharded parameter. It belongs
// to who gathered it and lends it to the parameter.
type Whole struct {
	Value tensor.Operand // [Shape...], what modules compute with
	Grad  *tensor.Tensor // float32 [Shape...]; nil in forward
	// HasGrad: Grad holds a gradient of this backward.
	HasGrad bool
}

// NewParam describes a parameter of the given shape.
func NewParam(init Init, shape ...int) *Param { return &Param{Shape: shape, Init: init} }

// Numel is the number of elements of the whole parameter.
func (p *Param) Numel() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// RowSize is the number of elements of one row, an index of the dimension that is
// sharded.
func (p *Param) RowSize() int { return p.Numel() / max(1, p.Shape[0]) }

// Local is the part of Shard that is real; its gradient is LocalGrad. There is
// neither before the model has memory.
func (p *Param) Local() *tensor.Tensor     { return p.real(p.Shard) }
func (p *Param) LocalGrad() *tensor.Tensor { return p.real(p.Grad) }

func (p *Param) real(t *tensor.Tensor) *tensor.Tensor {
	if t == nil {
		panic(fmt.Sprintf("nn: %s %v has no memory yet: shard the model and give it its first values (parallel.Model.Init or Load) before, for example, its optimizer is made", p.Name, p.Shape))
	}
	return t.Rows(0, p.LocalRows)
}

// Lend makes w the whole parameter; nil takes it back.
func (p *Param) Lend(w *Whole) { p.whole = w }

// Value is the whole parameter. There is one only between gather and free.
func (p *Param) Value() tensor.Operand {
	if p.whole == nil {
		panic(fmt.Sprintf("nn: %s is used outside gather and free: call Forward of the sharded model (parallel.Model), not of what is inside", p.Name))
	}
	return p.whole.Value
}

// Written counts a write to Shard, by the optimizer, initialisation or loading:
// what was made of the values before (a scale) is out of date. Every write
// happens on all ranks.
func (p *Param) Written() { p.writes++ }

// Version is the number of writes so far.
func (p *Param) Version() uint64 { return p.writes }

// Set writes the rank's rows, [LocalRows, ...] flattened.
func (p *Param) Set(s device.Stream, rows []float32) {
	s.Upload(p.Local(), device.Float32Bytes(rows))
	p.Written()
}

// pieceBytes is about how much of a parameter SetRows has on the host at once.
const pieceBytes = 1 << 20

// SetRows writes the rank's rows a piece at a time, so that the host never holds
// a second copy of a large parameter: read fills rows, flattened, from the given
// row of the whole parameter on. Its first error ends it.
func (p *Param) SetRows(s device.Stream, read func(rows []float32, first int) error) error {
	local, width := p.Local(), p.RowSize()
	step := max(1, pieceBytes/(dtype.Float32.Size()*width))
	piece := make([]float32, min(step, p.LocalRows)*width)
	for lo := 0; lo < p.LocalRows; lo += step {
		hi := min(lo+step, p.LocalRows)
		rows := piece[:(hi-lo)*width]
		if err := read(rows, p.RowOffset+lo); err != nil {
			return err
		}
		s.Upload(local.Rows(lo, hi), device.Float32Bytes(rows))
	}
	p.Written()
	return nil
}

// Draw sets the rank's rows as Init says: they are those of the whole parameter,
// whatever the number of ranks. It panics for a parameter without a name, because
// two of one shape would start equal.
func (p *Param) Draw(s device.Stream, seed uint64) {
	if p.Name == "" {
		panic(fmt.Sprintf("nn: a parameter %v is drawn before it has a name; call AssignNames on the model", p.Shape))
	}
	width := p.RowSize()
	_ = p.SetRows(s, func(rows []float32, first int) error {
		p.Init.Fill(rows, seed, p.Name, first*width)
		return nil
	})
}

// GradTarget is where a backward puts the gradient of the whole parameter, and
// whether it must add to what is there.
func (p *Param) GradTarget() (dst *tensor.Tensor, accumulate bool) {
	if p.whole == nil || p.whole.Grad == nil {
		panic(fmt.Sprintf("nn: %s has no gradient memory: it is used outside gather and free", p.Name))
	}
	accumulate, p.whole.HasGrad = p.whole.HasGrad, true
	return p.whole.Grad, accumulate
}

// addGrad adds what f overwrites its argument with to the gradient of the whole
// parameter.
func (p *Param) addGrad(c *Ctx, f func(dst *tensor.Tensor)) {
	dst, accumulate := p.GradTarget()
	if !accumulate {
		f(dst)
		return
	}
	more := c.Pool.New(dtype.Float32, p.Shape...)
	f(more)
	c.Stream.Add(dst, dst, more)
	c.Pool.Free(more)
}

// Init is how a parameter starts: normal with mean 0, cut at Cut standard
// deviations unless Cut is 0; or constant where Std is 0.
type Init struct {
	Std, Cut float64
	Const    float32
}

// Normal, TruncatedNormal and Constant are the three kinds of Init.
func Normal(std float64) Init               { return Init{Std: std} }
func TruncatedNormal(std, cut float64) Init { return Init{Std: std, Cut: cut} }
func Constant(v float32) Init               { return Init{Const: v} }

// Fill writes elements offset, offset+1, … of the parameter called name. Every
// element depends only on seed, name and its index, so any shard of a parameter
// starts with the same values as the whole.
func (i Init) Fill(dst []float32, seed uint64, name string, offset int) {
	switch {
	case i.Std == 0:
		for k := range dst {
			dst[k] = i.Const
		}
	case i.Cut == 0:
		rng.New(seed, name).Normal(dst, uint64(offset), 0, i.Std)
	default:
		rng.New(seed, name).TruncNormal(dst, uint64(offset), 0, i.Std, -i.Cut*i.Std, i.Cut*i.Std)
	}
}
