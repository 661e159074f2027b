// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"slices"

	"octet/comm"
	comms "octet/comm/null"
	"octet/device"
	"octet/device/null"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// Check finds what the plan cannot do on the mesh's axis "tp", with an input of the model: it applies the plan to the model,
// which is good for nothing else then, and carries layouts through its forward, where nothing is computed. Its error names
// the rule or, with its module, the first operation to which layouts come that it cannot propagate, and says what would do.
func (p Plan) Check(model nn.Module, mesh dtensor.Mesh, input tensor.Spec) error {
	n := mesh.Size(Axis)
	rows := input.Shape
	if input.Type != dtype.Int32 { // not of ids
		rows = rows[:len(rows)-1]
	}
	if err := p.divides(model, n, rows); err != nil {
		return err
	}
	l := &lies{Comm: comms.New(0, n), stream: null.Open(null.Options{}).NewStream("check"), at: map[key]Value{}}
	partial, err := p.apply(&model, mesh, mesh.Ranks()[0], group{Comm: l})
	if err != nil {
		return err
	}
	pool := device.NewPool(null.Open(null.Options{}))
	for _, param := range nn.Parameters(model) {
		t := pool.New(dtype.Float32, param.Shape...)
		param.Lend(&nn.Whole{Value: tensor.Operand{Tensor: t}})
		l.set(t, Value{At: along(param), Summed: slices.Contains(partial, param)})
	}
	_ = nn.Walk(&model, func(at string, m nn.Module) (nn.Module, error) { return &visited{inner: m, path: at, lies: l}, nil })
	c := &nn.Ctx{Stream: l, Pool: pool, Act: dtype.BFloat16, Mode: nn.Eval, Dry: true}
	return l.run(func() {
		y := model.Forward(c, nn.Input(pool.New(input.Type, input.Shape...)))
		if out := l.get(y.Value.Tensor); out.At != replicate && (out.At != byColumns || y.Slice == nil) {
			panic(failure{fmt.Errorf("tp: the model's output is %v, of which no loss is taken: give the last layer OutputLayouts of Shard(-1) or Replicate", out)})
		}
	})
}

// along is how a parameter lies along the axis, the columns of a matrix as Shard(-1).
func along(p *nn.Param) dtensor.Placement {
	if p.Box().Lo == nil {
		return replicate
	}
	at := p.Like("", nil).Layout.Placement(Axis)
	if dim, ok := at.IsShard(); ok && dim > 0 {
		return byColumns
	}
	return at
}

// divides refuses heads and tokens that n ranks cannot share. The degrees that its error offers divide both.
func (p Plan) divides(model nn.Module, n int, input []int) error {
	refused, or, common := "", "", 0
	_ = nn.Walk(&model, func(at string, m nn.Module) (nn.Module, error) {
		a, ok := nn.Base(m).(*nn.Attention)
		if !ok {
			return m, nil
		}
		heads := func(slot nn.Module, name string) int {
			r, _ := p.rule(at+"."+name, slot)
			l, ok := nn.Base(slot).(*nn.Linear)
			if r == nil || !ok || r.Style.kind != colwise || r.Style.out != byColumns {
				return 0
			}
			return l.Weight.Shape[0] / a.HeadDim
		}
		q, kv := heads(a.WQ, "wq"), heads(a.WK, "wk")
		if refused == "" && (q%n != 0 || kv%n != 0) {
			refused = fmt.Sprintf("%s has %d heads of queries and %d of keys, which do not divide among %d ranks", at, q, kv, n)
		}
		common = gcd(common, gcd(q, kv))
		return m, nil
	})
	if p.byRows() {
		tokens := tensor.Numel(input)
		if refused == "" && tokens%n != 0 {
			refused = fmt.Sprintf("%d tokens %v do not divide among %d ranks, each of which has rows of them", tokens, input, n)
			or = ", or another batch or length"
		}
		common = gcd(common, tokens)
	}
	if refused == "" {
		return nil
	}
	return fmt.Errorf("tp: %s: use a degree of %v%s", refused, divisors(common), or)
}

// byRows reports whether activations are cut by tokens anywhere.
func (p Plan) byRows() bool {
	return slices.ContainsFunc(p, func(r Rule) bool { return r.Style.in == byRows || r.Style.out == byRows })
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func divisors(n int) (all []int) {
	for d := 1; d <= n && len(all) < 12; d++ {
		if n%d == 0 {
			all = append(all, d)
		}
	}
	return all
}

// visited is a module that a check comes through.
type visited struct {
	nn.Leaf
	nn.NoParams
	inner nn.Module
	path  string
	lies  *lies
}

var _ nn.Decorator = (*visited)(nil)

// Inner is the module.
func (v *visited) Inner() *nn.Module { return &v.inner }

func (v *visited) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	before := v.lies.path
	v.lies.path = v.path
	y := v.inner.Forward(c, x)
	v.lies.path = before
	return y
}

// stream and key: a value is known by its memory, whatever shape it is seen in.
type (
	stream = device.Stream
	key    struct {
		buf tensor.Buffer
		off int
	}
)

// lies is a device that computes layouts in place of values, and the communicator along the axis.
type lies struct {
	comm.Comm
	stream
	path string
	at   map[key]Value
}

// failure is an error on its way out of a forward.
type failure struct{ error }

// run is f, with the error in which it ends.
func (l *lies) run(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		case string: // a module's own, of shapes that do not fit
			err = fmt.Errorf("tp: %s: %s", l.path, r)
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

func (l *lies) set(t *tensor.Tensor, v Value) {
	if t != nil {
		l.at[key{t.Buf, t.Off}] = v
	}
}

func (l *lies) get(t *tensor.Tensor) Value { return l.at[key{t.Buf, t.Off}] }

// do is an operation that writes dst.
func (l *lies) do(o operation, dst *tensor.Tensor, in ...*tensor.Tensor) {
	values := make([]Value, len(in))
	for i, t := range in {
		values[i] = l.get(t)
	}
	out, err := o.apply(values...)
	if err != nil {
		panic(failure{fmt.Errorf("tp: %s: %w", l.path, err)})
	}
	l.set(dst, out)
}

// note tells a check what no collective says.
func (g group) note(t *tensor.Tensor, was dtensor.Placement, is Value) {
	l, ok := g.Comm.(*lies)
	if !ok {
		return
	}
	if v := l.get(t); v.At != was {
		panic(failure{fmt.Errorf("tp: %s: the style is for an input %v, which is %v: change its layouts, or those of the layers before", l.path, was, v)})
	}
	l.set(t, is)
}

func (l *lies) Zero(t *tensor.Tensor)                                 { l.set(t, Value{}) }
func (l *lies) Upload(t *tensor.Tensor, _ []byte)                     { l.set(t, Value{}) }
func (l *lies) Copy(dst, src *tensor.Tensor)                          { l.set(dst, l.get(src)) }
func (l *lies) Add(dst, a, b *tensor.Tensor)                          { l.do(opAdd, dst, a, b) }
func (l *lies) AddBias(y, b *tensor.Tensor)                           { l.do(opBias, y, y, b) }
func (l *lies) Activate(y, x *tensor.Tensor, _ device.Activation)     { l.do(opEach, y, x) }
func (l *lies) SwiGLU(h, gate, up, _ *tensor.Tensor)                  { l.do(opEach, h, gate, up) }
func (l *lies) RoPE(x, _, _ *tensor.Tensor, _ bool, _ *tensor.Tensor) { l.do(opAttention, x, x) }
func (l *lies) Attention(o, _, q, k, v, _, _, _ *tensor.Tensor)       { l.do(opAttention, o, q, k, v) }
func (l *lies) CrossEntropy(_, z, _, _ *tensor.Tensor)                { l.do(opLoss, nil, z) }
func (l *lies) SquaredError(_, y, _, _ *tensor.Tensor)                { l.do(opSquares, nil, y) }

func (l *lies) Embedding(y, table, ids *tensor.Tensor, _, _ int) { l.do(opEmbedding, y, ids, table) }

func (l *lies) CrossEntropyStats(_, _, _, z, _ *tensor.Tensor, _, _ int) { l.do(opSliceLoss, nil, z) }

func (l *lies) RMSNorm(y, sum, _, x, residual, w *tensor.Tensor, _ float32, _ *tensor.Tensor) {
	if residual != nil {
		l.do(opAdd, sum, x, residual)
		x = sum
	}
	l.do(opNorm, y, x, w)
}

func (l *lies) LayerNorm(y, _, _, x, w, b *tensor.Tensor, _ float32) {
	l.do(opNorm, y, x, w)
	l.do(opNorm, nil, x, b)
}

func (l *lies) MatMul(dst *tensor.Tensor, a, b tensor.Operand, _ device.MatMulOptions) {
	l.do(opLinear, dst, a.Tensor, b.Tensor)
}

func (l *lies) cast(dst, dstT, src tensor.Operand) {
	for _, to := range []*tensor.Tensor{dst.Tensor, dstT.Tensor} {
		if to != nil {
			v := l.get(src.Tensor)
			l.do(opCast, to, src.Tensor)
			l.set(to, v)
			if dst.Tensor != nil && dst.Granularity() == tensor.PerRow {
				l.set(dst.Inv, v)
			}
		}
	}
}

func (l *lies) Cast(dst, dstT, src tensor.Operand)                { l.cast(dst, dstT, src) }
func (l *lies) DynamicCast(dst, dstT, src tensor.Operand, _ bool) { l.cast(dst, dstT, src) }
func (l *lies) RecordCast(dst, dstT, src, _ tensor.Operand, _ *tensor.Tensor) {
	l.cast(dst, dstT, src)
}
func (l *lies) Transpose(dst, src *tensor.Tensor) { l.set(dst, l.get(src)) }

func (l *lies) AllGather(_ device.Stream, dst, src []*tensor.Tensor) {
	for i := range dst {
		l.do(opGather, dst[i], src[i])
	}
}

func (l *lies) ReduceScatter(_ device.Stream, dst, src []*tensor.Tensor, _ comm.Op) {
	for i := range dst {
		l.do(opScatter, dst[i], src[i])
	}
}

func (l *lies) AllReduce(_ device.Stream, ts []*tensor.Tensor, op comm.Op) {
	for _, t := range ts {
		if op == comm.Sum {
			l.do(opSum, t, t)
		}
	}
}
