// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"octet/backend"
	"octet/comm/grid"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/test/ranks"
)

// user is somebody who trains a small model on one rank.
type user struct {
	*testing.T
	rank        *ranks.Rank
	plan        parallel.Plan
	root        nn.Module
	m           *parallel.Model
	adam        *optim.Adam
	ids, target *tensor.Tensor
}

func newUser(t *testing.T) *user {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.1)}) }
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	return &user{T: t, rank: ranks.Open(t, 1, ranks.Options{})[0],
		root: &nn.Sequential{
			Names:   []string{"embed", "up", "gelu", "down"},
			Modules: []nn.Module{nn.NewEmbedding(16, 16, nn.Normal(1)), linear(16, 32), nn.NewGELU(), linear(32, 16)},
		},
		plan: parallel.Plan{
			Float8: &parallel.Float8{Config: cfg, Precompute: true},
			Units:  []string{"up", "down"}, FSDP: fsdp.Options{Param: dtype.BFloat16},
		},
	}
}

// The calls in their order; each makes those before it.

func (u *user) must(err error) {
	if err != nil {
		u.Fatal(err)
	}
}

func (u *user) convert() *user {
	u.must(u.plan.Convert(&u.root))
	return u
}

func (u *user) shard() *user {
	u.convert()
	var err error
	u.m, err = u.plan.Shard(u.root, u.rank.World, u.rank.Device)
	u.must(err)
	u.ids, u.target = u.m.Ctx().Pool.New(dtype.Int32, 1, 4), u.m.Ctx().Pool.New(dtype.Int32, 1, 4)
	u.m.Ctx().Stream.Upload(u.ids, device.Int32Bytes([]int32{1, 2, 3, 4}))
	u.m.Ctx().Stream.Upload(u.target, device.Int32Bytes([]int32{2, 3, 4, 5}))
	return u
}

func (u *user) init() *user {
	u.shard()
	u.must(u.m.Init(1))
	u.adam = u.newAdam()
	return u
}

func (u *user) newAdam() *optim.Adam {
	adam, err := optim.NewAdam(u.rank.Device, u.m.Ctx().Stream, u.m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	u.must(err)
	return adam
}

func (u *user) loss(c *nn.Ctx, _ int) { nn.CrossEntropy(c, u.m.Forward(c, nn.Input(u.ids)), u.target) }

func (u *user) step(f func(c *nn.Ctx, i int)) *parallel.Pending {
	return u.m.Step(parallel.StepOptions{Optimizer: u.adam, LR: 1e-2, Count: 4}, f)
}

func (u *user) eval(f func(c *nn.Ctx)) {
	_, err := u.m.Eval(1, func(c *nn.Ctx, _ int) (int, error) { f(c); return 4, nil })
	u.must(err)
}

// forgetful is an optimizer that does not count its writes.
type forgetful struct{}

func (forgetful) Step(device.Stream, *tensor.Tensor, float64) {}

// TestAMisuseNamesWhatIsMissing: the library used in a wrong order, or with a part
// left out, says which call is missing; as an error where the right order ends in
// one, otherwise as a panic.
func TestAMisuseNamesWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(u *user) error
		want string
	}{
		{"sharded before it was converted", func(u *user) error {
			_, err := u.plan.Shard(u.root, u.rank.World, u.rank.Device)
			return err
		}, "up is not converted: call Plan.Convert before Plan.Shard"},
		{"converted after it was sharded", func(u *user) error {
			float8 := u.plan.Float8
			u.plan.Float8 = nil
			u.shard()
			u.plan.Float8 = float8
			return u.plan.Convert(&u.root)
		}, "the weight of up travels otherwise already: convert before sharding"},
		{"converted twice", func(u *user) error { return u.convert().plan.Convert(&u.root) }, "up is converted already"},
		{"sharded twice", func(u *user) error {
			_, err := u.shard().plan.Shard(u.root, u.rank.World, u.rank.Device)
			return err
		}, "is a unit already: a model is sharded once"},
		{"what is sharded is sharded again", func(u *user) error {
			_, err := u.shard().plan.Shard(u.m.Root(), u.rank.World, u.rank.Device)
			return err
		}, "is a unit already: a model is sharded once"},
		{"a parameter in two sharded models", func(u *user) error {
			other := nn.NewLinear(16, 16, nn.LinearOptions{})
			other.Weight = nn.Base(u.init().root).(*nn.Sequential).Modules[0].(*nn.Embedding).Weight
			m, err := parallel.Plan{FSDP: u.plan.FSDP}.Shard(other, u.rank.World, u.rank.Device)
			u.must(err)
			return m.Init(1)
		}, "weight has memory already: it is allocated once, and in one sharded model"},
		{"two parameters of one name", func(u *user) error {
			u.root.(*nn.Sequential).Names[3], u.plan.Units = "up", nil
			u.shard()
			return nil
		}, `two parameters are called "up.weight": give the slots that Children yields, and what Params yields, names of their own`},
		{"no type for what is gathered", func(u *user) error {
			u.plan.FSDP.Param = dtype.Invalid
			_, err := u.convert().plan.Shard(u.root, u.rank.World, u.rank.Device)
			return err
		}, "Options.Param is dtype(0); want dtype.Float32 or dtype.BFloat16"},
		{"an optimizer before there is memory", func(u *user) error { u.shard().newAdam(); return nil },
			"up.weight [32 16] has no memory yet: shard the model and give it its first values (parallel.Model.Init or Load)"},
		{"a step before there are values", func(u *user) error { u.shard().step(u.loss); return nil }, "Step of a model without values: call Model.Init or Model.Load first"},
		{"an evaluation before there are values", func(u *user) error { u.shard().eval(func(*nn.Ctx) {}); return nil }, "Eval of a model without values: call Model.Init"},
		{"a parameter that is not loaded", func(u *user) error {
			return u.shard().m.Load(func(s device.Stream, params []*nn.Param) error {
				for _, p := range params[1:] {
					p.Draw(s, 1)
				}
				return nil
			})
		}, "up.weight has no values: the function given to Model.Load must write every parameter (nn.Param.SetBox)"},
		{"a step without an optimizer", func(u *user) error {
			u.init().m.Step(parallel.StepOptions{Count: 4}, u.loss)
			return nil
		}, "Step without StepOptions.Optimizer"},
		{"an optimizer of other parameters", func(u *user) error {
			u.init().m.Step(parallel.StepOptions{Optimizer: forgetful{}, Count: 4}, u.loss)
			return nil
		}, "the step's optimizer wrote none of Model.Params, or did not count it (nn.Param.Written)"},
		{"a parameter frozen after it has memory", func(u *user) error {
			u.init().m.Params()[0].Freeze()
			return nil
		}, "Freeze of up.weight, which has memory already: freeze parameters before the model is sharded"},
		{"the gradient of a frozen parameter", func(u *user) error {
			u.root.(*nn.Sequential).Modules[1].(*nn.Linear).Weight.Freeze()
			u.init().m.Params()[0].LocalGrad()
			return nil
		}, "up.weight is frozen: it has no gradient"},
		{"a backward to a frozen parameter", func(u *user) error {
			u.root.(*nn.Sequential).Modules[1].(*nn.Linear).Weight.Freeze()
			u.init().m.Params()[0].GradTarget()
			return nil
		}, "a backward gives a gradient to up.weight, which is frozen: ask Param.Frozen first"},
		{"a model that is frozen", func(u *user) error {
			for _, p := range nn.Parameters(u.root) {
				p.Freeze()
			}
			u.init().step(u.loss)
			return nil
		}, "the step's optimizer wrote none of Model.Params, or did not count it (nn.Param.Written), or all are frozen"},
		{"a count below zero", func(u *user) error {
			u.init().m.Step(parallel.StepOptions{Optimizer: u.adam, Count: -1}, u.loss)
			return nil
		}, "StepOptions.Count is -1; want the number of terms"},
		{"no count", func(u *user) error {
			_, err := u.init().m.Step(parallel.StepOptions{Optimizer: u.adam}, u.loss).Wait()
			return err
		}, "have no terms: StepOptions.Count"},
		{"no forward", func(u *user) error { u.init().step(func(*nn.Ctx, int) {}); return nil }, "Backward of an empty tape: call Forward in Train mode first"},
		{"no loss", func(u *user) error {
			u.init().step(func(c *nn.Ctx, _ int) { u.m.Forward(c, nn.Input(u.ids)) })
			return nil
		}, "a value [1 4 16] that has no gradient: take a loss of what Forward returned (CrossEntropy, MeanSquaredError, SetGrad)"},
		{"two losses of one output", func(u *user) error {
			u.init().step(func(c *nn.Ctx, _ int) {
				y := u.m.Forward(c, nn.Input(u.ids))
				nn.CrossEntropy(c, y, u.target)
				nn.CrossEntropy(c, y, u.target)
			})
			return nil
		}, "[1 4 16] has a loss already"},
		{"backward twice", func(u *user) error {
			u.init().step(func(c *nn.Ctx, i int) { u.loss(c, i); c.Tape.Backward() })
			return nil
		}, "Backward of an empty tape: call Forward in Train mode first, and Backward once after it"},
		{"no tape", func(u *user) error {
			u.init().step(func(c *nn.Ctx, i int) { c.Tape = nil; u.loss(c, i) })
			return nil
		}, "needs a tape: set Ctx.Tape to &nn.Tape{}, or Ctx.Mode to nn.Eval"},
		{"forward outside a step", func(u *user) error {
			u.init().m.Forward(u.m.Ctx(), nn.Input(u.ids))
			return nil
		}, "Forward outside a step: call it in a function given to Model.Step or Model.Eval"},
		{"forward after a step, past the model", func(u *user) error {
			_, err := u.init().step(u.loss).Wait()
			u.must(err)
			u.m.Root().Forward(u.m.Ctx(), nn.Input(u.ids))
			return nil
		}, "Forward of unit (root) outside a microbatch: call FSDP.Begin first (parallel.Model.Step and Eval do)"},
		{"forward of what is inside", func(u *user) error {
			u.init().step(func(c *nn.Ctx, _ int) { u.root.Forward(c, nn.Input(u.ids)) })
			return nil
		}, "embed.weight is used outside gather and free: call Forward of the sharded model (parallel.Model)"},
		{"a loss outside a step", func(u *user) error {
			c := u.init().m.Ctx()
			nn.CrossEntropy(c, nn.Watch(c.New(4, 16)), u.target)
			return nil
		}, "CrossEntropy without Ctx.Loss and Ctx.Scale: call it in a function given to parallel.Model.Step or Eval"},
		{"an evaluation within a step", func(u *user) error {
			u.init().step(func(c *nn.Ctx, i int) { u.eval(func(*nn.Ctx) {}) })
			return nil
		}, "Eval within the function of Step: call it after Step has returned"},
		{"a step after one that ended in the middle", func(u *user) error {
			func() {
				defer func() { _ = recover() }()
				u.init().step(func(c *nn.Ctx, i int) { u.m.Forward(c, nn.Input(u.ids)); panic("bug") })
			}()
			u.step(u.loss)
			return nil
		}, "a Step before this one ended within its function, by a panic"},
		{"a step after one that ended between microbatches", func(u *user) error {
			func() {
				defer func() { _ = recover() }()
				u.init().m.Step(parallel.StepOptions{Optimizer: u.adam, Count: 8, Microbatches: 2}, func(c *nn.Ctx, i int) {
					if i == 1 {
						panic("no data")
					}
					u.loss(c, i)
				})
			}()
			u.step(u.loss)
			return nil
		}, "a Step before this one ended within its function, by a panic"},
		{"a step after its rank was closed", func(u *user) error {
			list, err := backend.Local(1, backend.Options{})
			u.must(err)
			u.rank = list[0]
			u.init()
			u.must(u.rank.Close())
			u.step(u.loss)
			return nil
		}, "is used after its device was closed"},
		{"a parameter read within an evaluation", func(u *user) error {
			u.init().eval(func(*nn.Ctx) { _, _ = u.m.FullTensor(u.m.Params()[0]) })
			return nil
		}, "FullTensor within the function of Eval"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUser(t)
			got := func() (said string) {
				defer func() {
					if p := recover(); p != nil {
						said = fmt.Sprint(p)
					}
				}()
				return fmt.Sprint(tt.run(u))
			}()
			if !strings.Contains(got, tt.want) {
				t.Errorf("said %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestShardingAloneNamesWhatIsMissing: FSDP used without a Model.
func TestShardingAloneNamesWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(f *fsdp.FSDP, c *nn.Ctx, root nn.Module, dev device.Device)
		want string
	}{
		{"begun before there is memory", func(f *fsdp.FSDP, c *nn.Ctx, _ nn.Module, _ device.Device) { f.Begin(c, true) }, "Begin of a model without memory: call FSDP.Allocate first"},
		{"begun before there are values", func(f *fsdp.FSDP, c *nn.Ctx, _ nn.Module, dev device.Device) {
			_ = f.Allocate(dev)
			f.Begin(c, true)
		}, "Begin before weight has values: draw it (nn.Param.Draw) or load it (SetBox)"},
		{"not begun", func(f *fsdp.FSDP, c *nn.Ctx, root nn.Module, dev device.Device) {
			drawn(f, c, dev)
			pass(c, root)
		}, "Forward of unit (root) outside a microbatch: call FSDP.Begin first"},
		{"not finished", func(f *fsdp.FSDP, c *nn.Ctx, root nn.Module, dev device.Device) {
			drawn(f, c, dev)
			f.Begin(c, true)
			pass(c, root)
			c.Tape.Backward()
			f.Params()[0].Written() // as an optimizer does
			f.Begin(c, true)
		}, "parameters were written to since its first: call FSDP.Finish before the optimizer's Step"},
		{"finished before the backward", func(f *fsdp.FSDP, c *nn.Ctx, root nn.Module, dev device.Device) {
			drawn(f, c, dev)
			f.Begin(c, true)
			pass(c, root)
			f.Finish(c)
		}, "Finish before the backward of a microbatch: call Begin, Forward and Tape.Backward first"},
		{"finished twice", func(f *fsdp.FSDP, c *nn.Ctx, root nn.Module, dev device.Device) {
			drawn(f, c, dev)
			f.Begin(c, true)
			pass(c, root)
			c.Tape.Backward()
			f.Finish(c)
			f.Finish(c)
		}, "Finish before the backward"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := ranks.Open(t, 1, ranks.Options{})[0]
			var root nn.Module = nn.NewLinear(4, 4, nn.LinearOptions{Init: nn.Normal(1)})
			f, err := fsdp.Shard(&root, grid.Line(r.World, fsdp.Axis), fsdp.Options{Param: dtype.Float32}, func(string, nn.Module) bool { return false })
			if err != nil {
				t.Fatal(err)
			}
			c := &nn.Ctx{Stream: r.Device.NewStream("test"), Pool: device.NewPool(r.Device), Tape: &nn.Tape{}, Act: dtype.Float32}
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), tt.want) {
					t.Errorf("panic %v\nwant %q", p, tt.want)
				}
			}()
			tt.run(f, c, root, r.Device)
		})
	}
}

// drawn gives f memory and values.
func drawn(f *fsdp.FSDP, c *nn.Ctx, dev device.Device) {
	if err := f.Allocate(dev); err != nil {
		panic(err)
	}
	for _, p := range f.Params() {
		p.Draw(c.Stream, 1)
	}
}

// pass runs root forward on something, with a gradient for what it returns.
func pass(c *nn.Ctx, root nn.Module) {
	x, dy := c.New(2, 4), c.New(2, 4)
	c.Stream.Zero(x)
	c.Stream.Zero(dy)
	root.Forward(c, nn.Input(x)).SetGrad(dy)
}

// TestAModelSurvivesAMisuse: after a panic that the caller recovers from, and after
// an error of an evaluation's function, it goes on as if nothing had been.
func TestAModelSurvivesAMisuse(t *testing.T) {
	losses := func(misuse func(u *user)) (all []float64) {
		u := newUser(t).init()
		for i := range 3 {
			if i == 1 {
				func() {
					defer func() { _ = recover() }()
					misuse(u)
				}()
			}
			r, err := u.step(u.loss).Wait()
			u.must(err)
			all = append(all, r.Loss)
		}
		return all
	}
	want := losses(func(*user) {})
	for name, misuse := range map[string]func(u *user){
		"no forward":           func(u *user) { u.step(func(*nn.Ctx, int) {}) },
		"forward outside":      func(u *user) { u.m.Forward(u.m.Ctx(), nn.Input(u.ids)) },
		"an evaluation fails":  func(u *user) { _, _ = u.m.Eval(1, func(*nn.Ctx, int) (int, error) { return 0, fmt.Errorf("no data") }) },
		"an evaluation panics": func(u *user) { u.eval(func(*nn.Ctx) { panic("bug") }) },
	} {
		if got := losses(misuse); !slices.Equal(got, want) {
			t.Errorf("%s: losses %v, want %v", name, got, want)
		}
	}
}
