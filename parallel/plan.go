// SPDX-License-Identifier: Apache-2.0

// Package parallel says how a model is spread over ranks, as a table (Plan), and
// applies the table in the one order that is right: float8 first, because it
// chooses how weights travel, then what ranks compute together, then what backward computes
// again, then sharding, which gathers once for both passes. What comes of it on a rank is a Model, which trains.
//
//	p := parallel.Plan{
//		Float8:    &parallel.Float8{Config: fp8.DefaultConfig(), Skip: []string{"output"}},
//		Recompute: &parallel.Recompute{Modules: []string{"layers.*"}, Every: 2},
//		Units:     []string{"tok_embeddings", "layers.*", "norm+output"},
//		FSDP:      fsdp.Options{Param: dtype.BFloat16},
//	}
//	fmt.Print(p)
//	err := p.Convert(&model)                      // before any rank starts
//	m, err := p.Shard(model, world, dev)          // on every rank: a Model
//	err = m.Init(seed)
//	result, err := m.Step(options, func(c *nn.Ctx, _ int) { … }).Wait()
package parallel

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/tp"
)

// Plan is a model's parallelism.
type Plan struct {
	Degrees Degrees // the zero value: all ranks shard
	Float8  *Float8 // nil: none
	Tensor  tp.Plan // how the Degrees.Tensor ranks that have the same data share modules
	// AsyncTensor moves their activations beside the products that read or make them (tp.Overlap), to the same bits.
	AsyncTensor bool
	Recompute   *Recompute // nil: all activations are kept
	// DetectAnomaly has each step name the first tensor that has a value which is not
	// finite: input, output or gradient of the input of a module, weight, or its gradient
	// (torch.autograd.detect_anomaly). It reads each of them once more.
	DetectAnomaly bool
	// Units are the FSDP units by path, with * for any one part of a path. What
	// is in none of them belongs to the root's.
	Units []string
	FSDP  fsdp.Options
}

// Float8 converts every Linear whose name contains none of Skip.
type Float8 struct {
	Config fp8.Float8LinearConfig
	Skip   []string
	// SkipSmall is a recipe: Linears that are too small to gain by it stay as they are
	// too (fp8.AutoFilter). Empty: none are.
	SkipSmall fp8.RecipeName
	// Precompute makes all scales of weights that travel as float8 at once, after
	// each write to the parameters.
	Precompute bool
}

// Recompute says which modules' activations are not kept for backward but computed
// again there (nn.Recompute), under every recipe and any sharding to the same bits.
type Recompute struct {
	Modules []string // by path, as Plan.Units
	Every   int      // n: of those modules, in the model's order, the n-th, the 2n-th, …; 0 is 1
	Keep    nn.Keep
}

// apply decorates the modules.
func (r *Recompute) apply(root *nn.Module) {
	if r == nil {
		return
	}
	n := 0
	_ = nn.Walk(root, func(at string, m nn.Module) (nn.Module, error) {
		if _, ok := match(r.Modules, at); !ok {
			return m, nil
		}
		if n++; n%max(1, r.Every) != 0 {
			return m, nil
		}
		return nn.Recompute(m, r.Keep), nil
	})
}

// check finds patterns that match nothing, and a count that selects nothing.
func (r *Recompute) check(root nn.Module) error {
	if r == nil {
		return nil
	}
	errs, n := []error{unmatched("Recompute.Modules", r.Modules, root)}, 0
	_ = nn.Walk(&root, func(at string, m nn.Module) (nn.Module, error) {
		if _, ok := match(r.Modules, at); ok {
			n++
		}
		return m, nil
	})
	if r.Every > n && n > 0 {
		errs = append(errs, fmt.Errorf("Recompute.Every = %d selects none of %d modules; use at most %d", r.Every, n, n))
	}
	return errors.Join(errs...)
}

// String is a line of the plan.
func (r *Recompute) String() string {
	which := "every one"
	if r.Every > 1 {
		which = fmt.Sprintf("one in %d", r.Every)
	}
	what := "forward"
	if r.Keep == nn.KeepCostly {
		what += " but " + r.Keep.String()
	}
	return fmt.Sprintf("%s of %q: %s runs again in backward", which, r.Modules, what)
}

// Convert applies what changes the model itself and needs no other rank. A
// pattern or an entry of Skip that matches nothing, a Linear whose sizes do not
// fit, and float8 for no Linear at all are errors.
func (p Plan) Convert(root *nn.Module) error {
	errs := []error{unmatched("unit", p.Units, *root), p.Recompute.check(*root)}
	if p.Float8 != nil {
		errs = append(errs, p.Float8.checkSkip(*root), p.Float8.convert(root))
	}
	return errors.Join(errs...)
}

// convert makes the Linears compute in float8.
func (f Float8) convert(root *nn.Module) error {
	wanted, err := f.filter()
	if err == nil {
		*root, err = fp8.ConvertToFloat8Training(*root, f.Config, wanted)
	}
	return err
}

// filter passes what is to be converted.
func (f Float8) filter() (fp8.ModuleFilter, error) {
	if f.SkipSmall != "" {
		return fp8.AutoFilter(f.SkipSmall, f.Skip...)
	}
	return fp8.FilterFQNs(f.Skip...), nil
}

// String is what is converted, and how.
func (f Float8) String() string {
	var b strings.Builder
	c := f.Config
	recipe, _ := c.Recipe()
	fmt.Fprintf(&b, "every Linear but %q", f.Skip)
	if f.SkipSmall != "" {
		fmt.Fprintf(&b, " and those too small to gain by %s", f.SkipSmall)
	}
	fmt.Fprintf(&b, ": %v", recipe)
	for _, remark := range []struct {
		on   bool
		text string
	}{
		{c.RoundScalesToPowerOf2, "scales are powers of two"},
		{c.RequiresSync(), fmt.Sprintf("delayed scales of %d steps", c.DelayedScalingConfig.HistoryLen)},
		{c.EnableFsdpFloat8AllGather, "weights travel as float8"},
		{!c.Emulate && !slices.Equal(recipe.Fast(), []string{"output"}), fmt.Sprintf("fast accumulation in %q", recipe.Fast())}, // not as torchao
		{c.PadInnerDim, "sums over tokens padded"},
		{c.Emulate, "products in float32 (emulated)"},
	} {
		if remark.on {
			b.WriteString(", " + remark.text)
		}
	}
	return b.String()
}

// checkSkip finds entries of Skip that no Linear's name contains.
func (f Float8) checkSkip(root nn.Module) error {
	var errs []error
	for _, s := range f.Skip {
		if !slices.ContainsFunc(fp8.Linears(root), func(l fp8.NamedLinear) bool { return strings.Contains(l.FQN, s) }) {
			errs = append(errs, fmt.Errorf("Float8.Skip: %q is part of no linear layer's name", s))
		}
	}
	return errors.Join(errs...)
}

// unmatched is an error for each pattern that matches no module.
func unmatched(what string, patterns []string, root nn.Module) error {
	var errs []error
	used := map[string]bool{}
	_ = nn.Walk(&root, func(at string, m nn.Module) (nn.Module, error) {
		if pattern, ok := match(patterns, at); ok {
			used[pattern] = true
		}
		return m, nil
	})
	for _, pattern := range patterns {
		if !used[pattern] {
			errs = append(errs, fmt.Errorf("parallel: the plan's %s %q matches no module", what, pattern))
		}
	}
	return errors.Join(errs...)
}

// match is the first pattern that the module at the given path matches.
func match(patterns []string, at string) (string, bool) {
	for _, pattern := range patterns {
		// path.Match's separator is "/".
		slash := func(s string) string { return strings.ReplaceAll(s, ".", "/") }
		if ok, _ := path.Match(slash(pattern), slash(at)); ok {
			return pattern, true
		}
	}
	return "", false
}

// String is the table, in the order in which it is applied.
func (p Plan) String() string {
	var b strings.Builder
	if d := p.Degrees.String(); d != "" {
		fmt.Fprintf(&b, "ranks   %s\n", d)
	}
	if p.Float8 != nil {
		fmt.Fprintf(&b, "float8  %v\n", p.Float8)
	}
	if p.Degrees.Tensor > 1 {
		for line := range strings.Lines(p.Tensor.String()) {
			b.WriteString("tp      " + line)
		}
		if p.AsyncTensor {
			b.WriteString("tp      rows travel beside the products that read or make them\n")
		}
	}
	if p.Recompute != nil {
		fmt.Fprintf(&b, "ac      %v\n", p.Recompute)
	}
	if p.DetectAnomaly {
		b.WriteString("check   every module's input, output and gradients, and every weight, for values that are not finite\n")
	}
	for _, u := range p.Units {
		fmt.Fprintf(&b, "fsdp    %s\n", u)
	}
	fmt.Fprintf(&b, "fsdp    parameters and activations in %v, reshard after forward: %s\n", p.FSDP.Param, p.FSDP.Reshard)
	return b.String()
}
