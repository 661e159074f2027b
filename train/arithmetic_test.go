// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"strings"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/tensor"
)

// arithmetic is a way to compute the golden model.
type arithmetic struct {
	args []string
	// alter makes the model compute what no flag asks for.
	alter func(nn.Module) error
	// steps are how many it takes to tell it from the right one; 0 is 4.
	steps int
}

var (
	tensorwise = join(f32Args, float8, emulate)
	delayed    = join(f32Args, float8, named("delayed"), emulate)
)

// arithmetics are those of the golden runs, and mistakes that one could make in
// their place.
var arithmetics = map[string]arithmetic{
	"f32":                     {args: f32Args},
	"bf16":                    {},
	"tensorwise":              {args: tensorwise},
	"tensorwise gather":       {args: join(tensorwise, gather)},
	"tensorwise in float8":    {args: join(f32Args, float8), alter: casters(exact)},
	"gather in float8":        {args: join(f32Args, float8, gather), alter: casters(exact)},
	"tensorwise, fast":        {args: join(f32Args, float8)},
	"tensorwise gather, fast": {args: join(f32Args, float8, gather)},

	"f32, weights in bf16":     {args: f32Args, alter: casters(inBF16(weight))},
	"f32, activations in bf16": {args: f32Args, alter: casters(inBF16(input | gradOutput))},
	"f32, linears in bf16":     {args: f32Args, alter: casters(inBF16(weight | input | gradOutput))},
	"f32, 0.1% more lr":        {args: join(f32Args, []string{"--optimizer.lr=3.003e-3"})},
	"f32, beta2 0.951":         {args: join(f32Args, []string{"--optimizer.beta2=0.951"})},
	"f32, eps 1e-7":            {args: join(f32Args, []string{"--optimizer.eps=1e-7"})},
	"f32, weight decay 0.09":   {args: join(f32Args, []string{"--optimizer.weight_decay=0.09"})},
	"f32, clipped at 1.01":     {args: join(f32Args, []string{"--training.max_norm=1.01"}), steps: 20},

	"bf16 tensorwise":                   {args: join(float8, emulate)},
	"tensorwise, output too":            {args: join(f32Args, emulate, []string{float8[0], "--quantize.linear.float8.filter_fqns="})},
	"tensorwise, bf16 gather":           {args: tensorwise, alter: casters(inBF16(weight))},
	"tensorwise, weight not cast":       {args: tensorwise, alter: casters(uncast(weight))},
	"tensorwise, weight not cast in dX": {args: tensorwise, alter: casters(uncast(1 << nn.WeightForGI))},
	"tensorwise, x not cast in dW":      {args: tensorwise, alter: casters(uncast(1 << nn.InForGW))},
	"tensorwise, dy not cast in dW":     {args: tensorwise, alter: casters(uncast(1 << nn.GradOutForGW))},
	"tensorwise, powers of two": {args: tensorwise, alter: configured(func(c *fp8.Float8LinearConfig) {
		c.RoundScalesToPowerOf2 = true
	})},
	"tensorwise, dy in e4m3": {args: tensorwise, alter: configured(func(c *fp8.Float8LinearConfig) {
		c.CastConfigGradOutput.TargetDType = dtype.Float8E4M3
	})},

	"rowwise":                      recipe(fp8.RecipeRowwise, nil),
	"rowwise in float8":            recipe(fp8.RecipeRowwise, notEmulated),
	"rowwise, scales as they come": recipe(fp8.RecipeRowwise, func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = false }),
	"rowwise, dy in e5m2":          recipe(fp8.RecipeRowwise, func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.TargetDType = dtype.Float8E5M2 }),
	"rowwise gather":               {args: join(f32Args, float8, named("rowwise"), gather[:1]), alter: casters(exact)},
	"gw_hp":                        recipe(fp8.RecipeRowwiseWithGWHP, nil),
	"gw_hp in float8":              recipe(fp8.RecipeRowwiseWithGWHP, notEmulated),

	"delayed":                {args: delayed},
	"delayed gather":         {args: join(delayed, gather[:1])},
	"delayed in float8":      {args: delayed[:len(delayed)-1], alter: casters(exact)},
	"delayed, no amax init":  {args: join(delayed, []string{"--quantize.linear.float8.no_enable_amax_init"})},
	"delayed, history of 1":  {args: join(delayed, []string{"--quantize.linear.float8.history_len=1"}), steps: 20},
	"delayed, powers of two": {args: join(delayed, []string{"--quantize.linear.float8.round_scales_to_power_of_2"})},
}

func notEmulated(c *fp8.Float8LinearConfig) {
	c.Emulate, c.GemmConfigOutput.UseFastAccum = false, false
}

// recipe has the model compute by a recipe that is changed, in float32.
func recipe(name fp8.RecipeName, change func(*fp8.Float8LinearConfig)) arithmetic {
	return arithmetic{args: tensorwise, alter: configured(func(c *fp8.Float8LinearConfig) {
		named, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			panic(err)
		}
		*c = named
		c.Emulate = true
		if change != nil {
			change(c)
		}
	})}
}

// configured has the model compute by a changed configuration.
func configured(change func(*fp8.Float8LinearConfig)) func(nn.Module) error {
	return func(m nn.Module) error {
		cfg := fp8.DefaultConfig()
		cfg.Emulate = true
		change(&cfg)
		for _, l := range fp8.Linears(m) {
			if strings.Contains(l.FQN, "output") {
				continue
			}
			// A Linear is converted once: this one takes the Caster of another.
			other := nn.NewLinear(l.Linear.Weight.Shape[1], l.Linear.Weight.Shape[0], nn.LinearOptions{})
			if _, err := fp8.ConvertToFloat8Training(other, cfg, fp8.FilterFQNs()); err != nil {
				return err
			}
			l.Linear.Caster = other.Caster
		}
		return nil
	}
}

// casters wraps the Caster of every Linear but the last.
func casters(wrap func(nn.Caster) nn.Caster) func(nn.Module) error {
	return func(m nn.Module) error {
		for _, l := range fp8.Linears(m) {
			if !strings.Contains(l.FQN, "output") {
				l.Linear.Caster = wrap(l.Linear.Caster)
			}
		}
		return nil
	}
}

// roles is a set of nn.Role, a bit each.
type roles int

const (
	input      roles = 1<<nn.In | 1<<nn.InForGW
	weight     roles = 1<<nn.Weight | 1<<nn.WeightForGI
	gradOutput roles = 1<<nn.GradOut | 1<<nn.GradOutForGW
)

func (s roles) has(r nn.Role) bool { return s>>r&1 != 0 }

// exact multiplies float8 with sums in float32, as emulation does, also on a
// processor with a faster unit.
func exact(c nn.Caster) nn.Caster { return exactCaster{c} }

type exactCaster struct{ nn.Caster }

func (exactCaster) FastAccum(nn.MatMul) bool { return false }

// inBF16 rounds operands to bfloat16 first.
func inBF16(s roles) func(nn.Caster) nn.Caster {
	return func(c nn.Caster) nn.Caster { return bf16Caster{c, s} }
}

type bf16Caster struct {
	nn.Caster
	roles roles
}

func (k bf16Caster) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	return apart(now, later, func(r nn.Role) tensor.Operand {
		if !k.roles.has(r) {
			return castFor(k.Caster, c, x, r)
		}
		rounded := tensor.Operand{Tensor: c.Pool.New(dtype.BFloat16, x.Shape...)}
		c.Stream.Copy(rounded.Tensor, x.Tensor)
		q := castFor(k.Caster, c, rounded, r)
		if q.Tensor != rounded.Tensor {
			c.Pool.Free(rounded.Tensor)
		}
		return q
	})
}

// apart casts for each role by itself.
func apart(now, later nn.Role, cast func(nn.Role) tensor.Operand) (a, b tensor.Operand) {
	if a = cast(now); later != nn.NoRole {
		b = cast(later)
	}
	return a, b
}

// castFor is the cast for one role.
func castFor(by nn.Caster, c *nn.Ctx, x tensor.Operand, r nn.Role) tensor.Operand {
	q, _ := by.Cast(c, x, r, nn.NoRole)
	return q
}

// uncast leaves operands as they are.
func uncast(s roles) func(nn.Caster) nn.Caster {
	return func(c nn.Caster) nn.Caster { return uncaster{c, s} }
}

type uncaster struct {
	nn.Caster
	roles roles
}

func (k uncaster) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	return apart(now, later, func(r nn.Role) tensor.Operand {
		if k.roles.has(r) {
			return x
		}
		return castFor(k.Caster, c, x, r)
	})
}

// layout is an arithmetic on a number of ranks, which share the golden batch.
type layout struct {
	arithmetic string
	ranks      int
}

func (l layout) String() string { return fmt.Sprintf("%s, %d ranks", l.arithmetic, l.ranks) }

// on spreads arithmetics over numbers of ranks.
func on(ranks []int, arithmetics ...string) (all []layout) {
	for _, a := range arithmetics {
		for _, n := range ranks {
			all = append(all, layout{a, n})
		}
	}
	return all
}

var one, two, both, upTo4 = []int{1}, []int{2}, []int{1, 2}, []int{1, 2, 4}

// Every bound is about twice what was seen at most, on five instruction sets and
// on the ranks that the rows name; where it comes from:
var (
	// One float32 rounding of a loss is 1e-7; gradients sum over 512 tokens, which
	// by random roundings is √512 · 2⁻²⁴ = 1.3e-6.
	f32Bounds = bounds{loss: [3]float64{5e-7, 5e-7, 5e-7}, norm: [3]float64{5e-7, 1.3e-6, 1.3e-6}, grad: 1.3e-6}
	// PyTorch itself, with and without AMX, differs in losses by 7e-5 and in norms by
	// 1.5e-3. octet shares four fifths of its roundings (0.43² of their energy is
	// other): it keeps dW in float32, and rounds inside attention elsewhere.
	bf16Bounds = bounds{loss: [3]float64{8e-6, 1e-4, 3e-4}, norm: [3]float64{1.3e-4, 4e-3, 4e-3}, grad: 0.6}
	// A cast that falls the other way moves by an ulp, √12 of the error that a cast
	// makes on average: 0.1 is 0.08% of them. The golden runs' norms have a step
	// where such a few matter (0.94 of FSDP2's is 0.87 with others), so later norms
	// say little.
	float8Bounds = bounds{loss: [3]float64{1e-6, 3e-4, 1e-3}, norm: [3]float64{2.9e-4, 6e-3, 0.1}, grad: 0.1}
	// Sums in fp16 are off by 1.1e-3 of their norm, as much as a rounding to bfloat16,
	// which lets 3% of the next casts fall the other way: √(12 · 3%) = 0.6.
	fastBounds = bounds{loss: [3]float64{9e-5, 6e-4, 2e-3}, norm: [3]float64{1.7e-3, 1e-2, 0.14}, grad: 0.6}
	// Powers of two shift values without rounding them, so that nearly all casts fall
	// as torchao's do: the first gradients are 70 dB from its own, where the recipe
	// beside is at 41 and tensor-wise scaling at 25. Here 50 dB, 3.2e-3, is the bound.
	// Rows are cast alike on any number of ranks, and columns of tokens nearly so;
	// nor does it matter whether weights travel as float8.
	//
	// At step 9 the golden run's norm is 2.26, where other recipes have 1.36 to 1.37.
	// 1.64 of it is the gradient of one row of the embedding, that of the token at the
	// start of the batch's sixth sequence (torchao's run, taken again, shows it). It
	// attends to itself alone, and what the layers add cancels its embedding: its
	// residual stream is the smallest of the batch in every norm, and the last one
	// reads a root mean square of 0.046, where its median is 0.50, and with other
	// recipes 0.15 to 0.20. A norm's gradient is divided by that, and once more by
	// each norm below. Weights that differ by roundings move the small difference
	// much: octet's norm is 1.70 there, 0.93 of it that row. So this one is not compared.
	rowwiseBounds = bounds{loss: [3]float64{5e-7, 6e-5, 2e-3}, norm: [3]float64{5e-5, 1.3e-3, 2.6e-2}, grad: 0.01, whole: 3.2e-3, any: 9}
	// A delayed scale is of all ranks and all microbatches, so that the number of ranks
	// changes nothing, and casts fall as torchao's do where products are emulated: the
	// first gradients are at 105 dB, where other recipes are at 24 to 34. Losses alone hardly tell a history of 16 steps from
	// one; scales do (fp8's tests).
	delayedBounds = bounds{loss: [3]float64{5e-7, 6e-5, 1e-3}, norm: [3]float64{2.9e-4, 2e-3, 0.15}, grad: 0.02, whole: 3.2e-3}
	gwHPBounds    = bounds{loss: [3]float64{5e-7, 8e-5, 2e-4}, norm: [3]float64{5e-5, 2e-3, 6e-3}, grad: 0.01, whole: 3.2e-3}
)

// TestGoldenRunsTellArithmeticsApart: losses, gradient norms and the gradients of
// the first step are PyTorch's and torchao's with the right arithmetic, and out of
// bounds with any other. In tensor-wise float8 a rank casts its part of the batch
// by its own scale, so the number of ranks is part of the arithmetic.
func TestGoldenRunsTellArithmeticsApart(t *testing.T) {
	float8Mistakes := []string{"f32", "bf16", "tensorwise, bf16 gather", "tensorwise, weight not cast", "tensorwise, powers of two", "bf16 tensorwise", "tensorwise, output too"}
	fineMistakes := append([]string{"tensorwise, weight not cast in dX", "tensorwise, x not cast in dW", "tensorwise, dy not cast in dW", "tensorwise, dy in e4m3"}, float8Mistakes...)
	f32Mistakes := []string{"bf16", "tensorwise", "f32, weights in bf16", "f32, activations in bf16",
		"f32, 0.1% more lr", "f32, beta2 0.951", "f32, eps 1e-7", "f32, weight decay 0.09", "f32, clipped at 1.01"}
	bf16Mistakes := []string{"f32", "f32, weights in bf16", "f32, activations in bf16", "f32, linears in bf16", "bf16 tensorwise", "tensorwise"}
	rowMistakes := []string{"f32", "tensorwise", "tensorwise, powers of two", "rowwise, scales as they come", "rowwise, dy in e5m2", "gw_hp"}
	gwHPMistakes := []string{"f32", "tensorwise", "tensorwise, powers of two", "rowwise"}
	delayedMistakes := []string{"f32", "tensorwise", "rowwise", "tensorwise, dy in e4m3", "delayed, no amax init", "delayed, powers of two"}
	ran := map[layout]curve{}
	for _, tt := range []struct {
		golden, f32  string
		bounds       bounds
		right, wrong []layout
	}{
		{"llama_f32", "", f32Bounds, on(both, "f32"), on(one, f32Mistakes...)},
		{"llama_fsdp2_f32", "", f32Bounds, on(both, "f32"), on(one, f32Mistakes...)},
		{"llama_fsdp2_bf16", "llama_fsdp2_f32", bf16Bounds, on(both, "bf16"), on(two, bf16Mistakes...)},
		{"llama_tensorwise", "llama_f32", float8Bounds, on(one, "tensorwise", "tensorwise in float8"), append(on(one, fineMistakes...), on(two, "tensorwise")...)},
		{"llama_tensorwise", "llama_f32", fastBounds, on(one, "tensorwise, fast"), append(on(one, float8Mistakes...), on(two, "tensorwise")...)},
		{"llama_rowwise", "llama_f32", rowwiseBounds, append(on(upTo4, "rowwise", "rowwise gather"), on(one, "rowwise in float8")...), on(one, rowMistakes...)},
		{"llama_rowwise_with_gw_hp", "llama_f32", gwHPBounds, append(on(upTo4, "gw_hp"), on(one, "gw_hp in float8")...), on(one, gwHPMistakes...)},
		{"llama_delayed", "llama_f32", delayedBounds, append(on(both, "delayed"), on(one, "delayed gather")...), on(one, append(delayedMistakes, "delayed, history of 1")...)},
		{"llama_delayed", "llama_f32", float8Bounds, on(one, "delayed in float8"), on(one, delayedMistakes...)},
		{"llama_delayed_no_amax_init", "llama_f32", delayedBounds, on(both, "delayed, no amax init"), on(one, "f32", "tensorwise", "delayed")},
		{"llama_fsdp2_tensorwise_gather", "llama_fsdp2_f32", float8Bounds, on(two, "tensorwise gather", "gather in float8", "tensorwise"), append(on(two, fineMistakes...), on(one, "tensorwise")...)},
		{"llama_fsdp2_tensorwise_gather", "llama_fsdp2_f32", fastBounds, on(two, "tensorwise gather, fast"), append(on(two, float8Mistakes...), on(one, "tensorwise")...)},
	} {
		want := readCurve(t, tt.golden)
		var f32 map[string][]float32
		if tt.f32 != "" {
			f32 = readCurve(t, tt.f32).Grad
		}
		worst := func(t *testing.T, l layout, steps int) deviation {
			a, known := arithmetics[l.arithmetic]
			if !known {
				t.Fatalf("no arithmetic is called %q", l.arithmetic)
			}
			if steps = max(steps, a.steps); len(ran[l].Loss) < steps {
				ran[l] = trainCurve(t, l.ranks, steps, goldenArgs(fmt.Sprint(8/l.ranks), a.args...), a.alter)
			}
			return tt.bounds.worst(ran[l], want, f32)
		}
		for _, l := range tt.right {
			t.Run(fmt.Sprintf("%s is %v", tt.golden, l), func(t *testing.T) {
				d := worst(t, l, len(want.Loss))
				t.Log(d)
				if d.ratio() > 1 {
					t.Errorf("out of bounds: %v", d)
				}
			})
		}
		for _, l := range tt.wrong {
			t.Run(fmt.Sprintf("%s is not %v", tt.golden, l), func(t *testing.T) {
				d := worst(t, l, 4)
				t.Log(d)
				if d.ratio() <= 1 {
					t.Errorf("passes for %s: %v", tt.golden, d)
				}
			})
		}
	}
}
