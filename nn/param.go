// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/internal/rng"
	"octet/tensor"
)

// Param is a parameter: its shape and how it starts are structure, known
// before any memory exists; the tensors are set by whoever shards it (package
// fsdp) and exist on one rank.
//
// Invariants: Shard and Grad, which a frozen one has not, have the same shape [c, ...],
// that of Box padded with zero rows so that it is equal on all ranks; only the first
// rows, as many as Box has, are real. Whoever writes to Shard says so (Written).
type Param struct {
	Name  string // fully qualified, by AssignNames
	Shape []int
	Init  Init
	// Wire is how a shard travels when it is gathered; nil means in the type of
	// activations. Conversion to float8 may set it.
	Wire comm.Wire

	Shard, Grad *tensor.Tensor // float32 [c, ...], the rank's part

	layout dtensor.Layout
	rank   int
	box    dtensor.Box

	frozen bool
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

// Freeze has training leave p as it is (requires_grad_(False)): it has no gradient and no
// moments, is in no norm and is not moved; what is computed with it has its gradient all
// the same. It is for before p has memory, and alike on all ranks.
func (p *Param) Freeze() {
	if p.Shard != nil {
		panic(fmt.Sprintf("nn: Freeze of %s, which has memory already: freeze parameters before the model is sharded", p.Name))
	}
	p.frozen = true
}

// Frozen reports whether p is left as it is. A backward of one's own asks before it
// calls GradTarget.
func (p *Param) Frozen() bool { return p.frozen }

// Numel is the number of elements of the whole parameter.
func (p *Param) Numel() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// RowSize is the number of elements of one row, an index of the first dimension.
func (p *Param) RowSize() int { return p.Numel() / max(1, p.Shape[0]) }

// Place says how the parameter lies on its mesh, in which this is the given rank:
// whoever shards it does, before it has memory.
func (p *Param) Place(l dtensor.Layout, rank int) {
	if whole := p.WholeShape(); !slices.Equal(l.Shape(), whole) {
		panic(fmt.Sprintf("nn: %s %v is placed by the layout of a tensor %v", p.Name, whole, l.Shape()))
	}
	p.layout, p.rank, p.box = l, rank, l.Box(rank)
}

// Split says that the modules of this rank compute with a part of the parameter, the box of rank
// under a layout of the whole, and makes Shape the part's: for who cuts the computation with it
// (package tp), before the parameter is sharded.
func (p *Param) Split(l dtensor.Layout, rank int) {
	if !slices.Equal(l.Shape(), p.Shape) {
		panic(fmt.Sprintf("nn: %s %v is split by the layout of a tensor %v", p.Name, p.Shape, l.Shape()))
	}
	p.layout, p.rank, p.box = l, rank, l.Box(rank)
	p.Shape = p.box.Shape()
}

// WholeShape is the shape of the whole, of which modules may compute with a part (Split).
func (p *Param) WholeShape() []int {
	if p.layout.Placed() {
		return p.layout.Shape()
	}
	return p.Shape
}

// Layout is how p lies on a mesh: as who cut the computation with it says, or else with all of it on each rank.
func (p *Param) Layout(mesh dtensor.Mesh) dtensor.Layout {
	if p.layout.Placed() {
		return p.layout
	}
	return dtensor.NewLayout(mesh, p.Shape)
}

// Primary says whether the rank speaks for its part, where others have the same.
func (p *Param) Primary() bool { return !p.layout.Placed() || p.layout.Primary(p.rank) }

// Box is the rank's part of the whole.
func (p *Param) Box() dtensor.Box { return p.box }

// DTensor is the parameter as what a checkpoint holds.
func (p *Param) DTensor() DTensor { return p.Like(p.Name, p.Local()) }

// Like is another tensor that lies as the parameter does, such as a moment of it:
// local is the rank's part.
func (p *Param) Like(name string, local *tensor.Tensor) DTensor {
	return DTensor{Name: name, Layout: p.layout, Rank: p.rank, Local: local}
}

// Local is the part of Shard that is real; its gradient is LocalGrad. There is
// neither before the model has memory.
func (p *Param) Local() *tensor.Tensor     { return p.real(p.Shard) }
func (p *Param) LocalGrad() *tensor.Tensor { return p.real(p.Grad) }

func (p *Param) real(t *tensor.Tensor) *tensor.Tensor {
	if t == nil {
		if p.frozen && p.Shard != nil {
			panic(fmt.Sprintf("nn: %s is frozen: it has no gradient", p.Name))
		}
		panic(fmt.Sprintf("nn: %s %v has no memory yet: shard the model and give it its first values (parallel.Model.Init or Load) before, for example, its optimizer is made", p.Name, p.Shape))
	}
	return t.Rows(0, p.box.Hi[0]-p.box.Lo[0])
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

// Alike is a tensor that all ranks of the parameter's mesh have alike, such as a
// count of steps.
func (p *Param) Alike(name string, local *tensor.Tensor) DTensor {
	return DTensor{Name: name, Layout: dtensor.NewLayout(p.layout.Mesh(), local.Shape), Rank: p.rank, Local: local}
}

// Set writes the rank's part, the elements of Box.
func (p *Param) Set(s device.Stream, values []float32) {
	s.Upload(p.Local(), device.Float32Bytes(values))
	p.Written()
}

// pieceBytes is about how much of a parameter SetBox has on the host at once.
const pieceBytes = 1 << 20

// SetBox writes the rank's part a piece at a time, so that the host never holds a
// second copy of a large parameter: read fills the elements of a box of the whole,
// some rows of Box. Its first error ends it.
func (p *Param) SetBox(s device.Stream, read func(values []float32, box dtensor.Box) error) error {
	local := p.Local()
	rows := local.Shape[0]
	width := local.Numel() / max(1, rows)
	step := max(1, pieceBytes/max(1, dtype.Float32.Size()*width))
	piece := make([]float32, min(step, rows)*width)
	for lo := 0; lo < rows; lo += step {
		hi := min(lo+step, rows)
		values := piece[:(hi-lo)*width]
		if err := read(values, p.box.Rows(lo, hi)); err != nil {
			return err
		}
		s.Upload(local.Rows(lo, hi), device.Float32Bytes(values))
	}
	p.Written()
	return nil
}

// Draw sets the rank's part as Init says: it is that of the whole parameter,
// whatever the number of ranks. It panics for a parameter without a name, because
// two of one shape would start equal.
func (p *Param) Draw(s device.Stream, seed uint64) {
	if p.Name == "" {
		panic(fmt.Sprintf("nn: a parameter %v is drawn before it has a name; call AssignNames on the model", p.Shape))
	}
	whole := dtensor.Whole(p.WholeShape())
	_ = p.SetBox(s, func(values []float32, box dtensor.Box) error {
		box.Overlap(whole, func(at, offset, n int) { p.Init.Fill(values[at:at+n], seed, p.Name, offset) })
		return nil
	})
}

// GradTarget is where a backward puts the gradient of the whole parameter, and
// whether it must add to what is there.
func (p *Param) GradTarget() (dst *tensor.Tensor, accumulate bool) {
	if p.frozen {
		panic(fmt.Sprintf("nn: a backward gives a gradient to %s, which is frozen: ask Param.Frozen first", p.Name))
	}
	if p.whole == nil || p.whole.Grad == nil {
		panic(fmt.Sprintf("nn: %s has no gradient memory: it is used outside gather and free", p.Name))
	}
	accumulate, p.whole.HasGrad = p.whole.HasGrad, true
	return p.whole.Grad, accumulate
}

// addGrad adds what f overwrites its argument with to the gradient of the whole
// parameter, unless that is frozen.
func (p *Param) addGrad(c *Ctx, f func(dst *tensor.Tensor)) {
	if p.frozen {
		return
	}
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

// withGrad is addGrad for an f that does more than that: of a frozen parameter it
// overwrites what nobody reads.
func (p *Param) withGrad(c *Ctx, f func(dst *tensor.Tensor)) {
	if !p.frozen {
		p.addGrad(c, f)
		return
	}
	unread := c.Pool.New(dtype.Float32, p.Shape...)
	f(unread)
	c.Pool.Free(unread)
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
