// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"strings"
	"testing"

	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
)

// copier is a Caster whose casts are copies, so that they must be shared and
// freed as float8 would be. It counts them by role.
type copier struct {
	nn.HighPrecision
	counts [nn.NumRoles]int
	apart  bool // forward and backward want different casts
}

func (k *copier) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	a = k.copy(c, x, now)
	switch {
	case later == nn.NoRole:
	case k.apart:
		b = k.copy(c, x, later)
	default:
		b = a
	}
	return a, b
}

func (k *copier) copy(c *nn.Ctx, x tensor.Operand, r nn.Role) tensor.Operand {
	k.counts[r]++
	made := tensor.Operand{Tensor: c.Pool.New(x.Type, x.Shape...)}
	c.Stream.Copy(made.Tensor, x.Tensor)
	return made
}

func (k *copier) Serves(by nn.Caster, made, want nn.Role) bool {
	return by == nn.Caster(k) && made == want
}

func (k *copier) String() string {
	var parts []string
	for role, n := range k.counts {
		parts = append(parts, fmt.Sprintf("%v:%d", nn.Role(role), n))
	}
	return strings.Join(parts, " ")
}

// castAll gives every Linear below m the Caster.
func castAll(m nn.Module, k nn.Caster) nn.Module {
	_ = nn.Walk(&m, func(_ string, m nn.Module) (nn.Module, error) {
		if l, ok := nn.Base(m).(*nn.Linear); ok {
			l.Caster = k
		}
		return m, nil
	})
	return m
}

func TestLinearsThatShareAnInputShareItsCast(t *testing.T) {
	linear := func(k, n int) nn.Module { return nn.NewLinear(k, n, nn.LinearOptions{}) }
	attention := func() nn.Module {
		return &nn.Attention{
			WQ: linear(8, 8), WK: linear(8, 4), WV: linear(8, 4), WO: linear(8, 8),
			HeadDim: 2, RoPE: &nn.RoPE{HeadDim: 2, MaxSeq: 5, Theta: 100},
		}
	}
	feedForward := func() nn.Module { return &nn.FeedForward{W1: linear(8, 6), W2: linear(6, 8), W3: linear(8, 6)} }
	for _, tt := range []struct {
		name   string
		module func() nn.Module
		apart  bool
		want   string // by hand: casts of inputs, weights and gradients
	}{
		{"wq, wk and wv", attention, false, "i:2 w:4 go:4 i_gw:0 w_gi:4 go_gw:0"},
		{"wq, wk and wv, backward casts its own", attention, true, "i:2 w:4 go:4 i_gw:2 w_gi:4 go_gw:4"},
		{"w1 and w3", feedForward, false, "i:2 w:3 go:3 i_gw:0 w_gi:3 go_gw:0"},
		{"w1 and w3, backward casts its own", feedForward, true, "i:2 w:3 go:3 i_gw:2 w_gi:3 go_gw:3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := func(k nn.Caster) ([]float32, []float32) {
				r := rig(t)
				m := castAll(tt.module(), k)
				params := r.Load(m, r.Random)
				x := nn.Watch(r.Put(r.Normal(2*5*8, 1), 2, 5, 8))
				y := r.Pass(m, x, r.Normal(2*5*8, 1))
				for _, p := range params {
					y = append(y, r.Grad(p)...)
				}
				return y, r.Get(x.Grad().Tensor)
			}
			k := &copier{apart: tt.apart}
			y, dx := run(k)
			if k.String() != tt.want {
				t.Errorf("casts %v, want %s", k, tt.want)
			}
			wantY, wantDX := run(nn.HighPrecision{})
			if nntest.Off(y, wantY) != 0 || nntest.Off(dx, wantDX) != 0 {
				t.Error("casts that copy change the output or a gradient")
			}
		})
	}
}

// TestAFrozenLinearCastsWhatItsBackwardReads: nothing for grad_weight and, where nobody
// wants grad_input either, nothing at all; its input need not be kept.
func TestAFrozenLinearCastsWhatItsBackwardReads(t *testing.T) {
	for _, tt := range []struct {
		wanted bool // grad_input
		want   string
	}{
		{true, "i:1 w:1 go:1 i_gw:0 w_gi:1 go_gw:0"},
		{false, "i:1 w:1 go:0 i_gw:0 w_gi:0 go_gw:0"},
	} {
		r, k := rig(t), &copier{apart: true}
		l := nn.NewLinear(8, 8, nn.LinearOptions{Bias: true})
		l.Weight.Freeze()
		castAll(l, k)
		r.Load(l, r.Random)
		x := nn.Input(r.Put(r.Normal(4*8, 1), 4, 8))
		if tt.wanted {
			x = nn.Watch(x.Value.Tensor)
		}
		y := l.Forward(r.Ctx, x)
		x.Done(r.Ctx)
		if live := r.Ctx.Pool.Live(); live != y.Value.Buf.Len() {
			t.Errorf("%d bytes are in use after forward, want the output's %d", live, y.Value.Buf.Len())
		}
		r.Backward(l, y, r.Normal(4*8, 1))
		if k.String() != tt.want {
			t.Errorf("casts %v, want %s", k, tt.want)
		}
	}
}

func TestEveryPassGivesItsMemoryBack(t *testing.T) {
	model := func() nn.Module {
		linear := func() nn.Module { return nn.NewLinear(6, 6, nn.LinearOptions{Bias: true}) }
		return &nn.Sequential{Names: []string{"norm", "sum", "output"}, Modules: []nn.Module{
			nn.NewRMSNorm(6, 1e-5), &nested{a: linear(), b: linear()}, linear(),
		}}
	}
	first := func() nn.Module { return nn.NewLinear(6, 6, nn.LinearOptions{}) }
	sum := func() nn.Module { return &nested{a: first(), b: first()} }
	for _, tt := range []struct {
		name   string
		module func() nn.Module
		caster nn.Caster
	}{
		{"norm first", model, nn.HighPrecision{}},
		{"norm first, casts", model, &copier{}},
		{"norm first, casts apart", model, &copier{apart: true}},
		{"Linear first", first, nn.HighPrecision{}},
		{"Linear first, casts", first, &copier{}},
		{"Linear first, casts apart", first, &copier{apart: true}},
		{"sum first", sum, nn.HighPrecision{}},
		{"sum first, casts", sum, &copier{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rig(t)
			m := castAll(tt.module(), tt.caster)
			r.Load(m, r.Random)
			x, dy := r.Put(r.Normal(4*6, 1), 4, 6), r.Normal(4*6, 1)
			var allocs int
			for step := range 4 {
				r.Pass(m, nn.Input(x), dy)
				if live := r.Ctx.Pool.Live(); live != 0 {
					t.Fatalf("step %d: %d bytes of the pool are in use after backward", step, live)
				}
				if step == 0 {
					allocs = r.Device.Allocs
				}
			}
			if r.Device.Allocs != allocs || allocs == 0 {
				t.Errorf("%d allocations by the device after four steps, %d after the first", r.Device.Allocs, allocs)
			}
		})
	}
}

func TestMisuseIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(r *nntest.Rig, x *nn.Var)
		want string
	}{
		{"a parameter outside gather and free", func(r *nntest.Rig, x *nn.Var) {
			nn.NewLinear(4, 4, nn.LinearOptions{}).Forward(r.Ctx, x)
		}, "is used outside gather and free"},
		{"a parameter whose gradient has no memory", func(r *nntest.Rig, x *nn.Var) {
			l := nn.NewLinear(4, 4, nn.LinearOptions{})
			r.Load(l, r.Random)
			y := l.Forward(r.Ctx, x)
			l.Weight.Lend(&nn.Whole{Value: l.Weight.Value()})
			r.Backward(l, y, r.Normal(4, 1))
		}, "weight has no gradient memory"},
		{"a parameter that is drawn before it is named", func(r *nntest.Rig, _ *nn.Var) {
			nn.NewParam(nn.Normal(1), 4, 4).Draw(r.Ctx.Stream, 1)
		}, "drawn before it has a name; call AssignNames"},
		{"a value after its last use", func(r *nntest.Rig, x *nn.Var) {
			m := castAll(&nested{a: nn.NewLinear(4, 4, nn.LinearOptions{}), b: nn.NewLinear(4, 4, nn.LinearOptions{})}, &copier{}).(*nested)
			r.Load(m, r.Random)
			castAll(m.b, &copier{})
			y := nn.Add(r.Ctx, x, x)
			nn.Last(r.Ctx, m.a, y) // reads a cast of y from here on
			m.b.Forward(r.Ctx, y)  // wants another
		}, "[1 4] is used after Done"},
		{"two gradients to begin with", func(r *nntest.Rig, x *nn.Var) {
			x.SetGrad(r.Ctx.New(1, 4))
			x.SetGrad(r.Ctx.New(1, 4))
		}, "[1 4] already has a gradient"},
		{"more positions than the rotary table", func(r *nntest.Rig, x *nn.Var) { (&nn.RoPE{HeadDim: 2, MaxSeq: 3}).On(r.Ctx, 4) }, "4 positions, but the RoPE table has 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rig(t)
			x := nn.Watch(r.Put(r.Normal(4, 1), 1, 4))
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), tt.want) {
					t.Errorf("panic %v, want one with %q", p, tt.want)
				}
			}()
			tt.run(r, x)
		})
	}
}
