// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"errors"
	"fmt"

	"octet/dtype"
	"octet/nn"
)

// operand is one of the three tensors of a Linear, each of which is in two matmuls.
type operand struct {
	name                  string // also in its field of Float8LinearConfig
	first, again          CastConfig
	firstRole, againRole  nn.Role
	firstMatMul, inMatMul nn.MatMul
	standard              dtype.Type
}

// field and override are the fields' names.
func (o operand) field() string    { return "cast_config_" + o.name }
func (o operand) override() string { return o.field() + "_for_" + matMuls[o.inMatMul].name }

// operands are those of c, in the order of the roles.
func (c Float8LinearConfig) operands() [3]operand {
	return [3]operand{
		{"input", c.CastConfigInput, c.CastConfigInputForGradWeight, nn.In, nn.InForGW, nn.Output, nn.GradWeight, dtype.Float8E4M3},
		{"weight", c.CastConfigWeight, c.CastConfigWeightForGradInput, nn.Weight, nn.WeightForGI, nn.Output, nn.GradInput, dtype.Float8E4M3},
		{"grad_output", c.CastConfigGradOutput, c.CastConfigGradOutputForGradWeight, nn.GradOut, nn.GradOutForGW, nn.GradInput, nn.GradWeight, dtype.Float8E5M2},
	}
}

// Recipe compiles the configuration, or returns everything wrong with it.
func (c Float8LinearConfig) Recipe() (Recipe, error) {
	r := Recipe{Config: c}
	var errs []error
	for _, o := range c.operands() {
		first, err := o.first.compile(o.field(), o.standard)
		errs = append(errs, err)
		again := first
		if o.again != (CastConfig{}) {
			again, err = o.again.compile(o.override(), first.Format)
			errs = append(errs, err)
		}
		r.Cast[o.firstRole], r.Cast[o.againRole] = first, again
	}
	for m, g := range [nn.NumMatMuls]GemmConfig{c.GemmConfigOutput, c.GemmConfigGradInput, c.GemmConfigGradWeight} {
		r.FastAccum[m] = g.UseFastAccum && !c.Emulate && r.Cast[matMuls[m].a].Type != Disabled
	}
	if errors.Join(errs...) == nil { // what pairs of casts that are none would be is of no use
		errs = append(errs, r.check()...)
	}
	errs = append(errs, c.checkDelayed()...)
	return r, errors.Join(errs...)
}

func (c CastConfig) compile(field string, standard dtype.Type) (Cast, error) {
	cast := Cast{Type: c.ScalingType, Granularity: c.ScalingGranularity, Format: c.TargetDType}
	if cast.Format == dtype.Invalid {
		cast.Format = standard
	}
	switch {
	case cast.Type != Dynamic && cast.Type != Delayed && cast.Type != Disabled:
		return cast, fmt.Errorf("float8: %s: scaling_type %q: must be %q, %q or %q", field, cast.Type, Dynamic, Delayed, Disabled)
	case cast.Granularity != Tensorwise && cast.Granularity != Axiswise:
		return cast, fmt.Errorf("float8: %s: scaling_granularity %q: must be %q or %q", field, cast.Granularity, Tensorwise, Axiswise)
	case cast.Granularity == Axiswise && cast.Type != Dynamic:
		return cast, fmt.Errorf("float8: %s: scaling_granularity %q needs scaling_type %q, found %q; use granularity %q for %s scaling",
			field, Axiswise, Dynamic, cast.Type, Tensorwise, cast.Type)
	case !cast.Format.IsFloat8():
		return cast, fmt.Errorf(`float8: %s: target_dtype %q is not an 8-bit float; use "e4m3" or "e5m2"`, field, cast.Format)
	}
	return cast, nil
}

// check finds pairs of casts that no matmul can take.
func (r Recipe) check() (errs []error) {
	for _, o := range r.Config.operands() {
		first, again := r.Cast[o.firstRole], r.Cast[o.againRole]
		one, two := matMuls[o.firstMatMul].name, matMuls[o.inMatMul].name
		switch {
		case first.Format != again.Format:
			errs = append(errs, fmt.Errorf("float8: %s is %s for %s and %s for %s; an operand keeps one format in both matmuls",
				o.name, first.format(), one, again.format(), two))
		case first.Type != again.Type && first.Type != Disabled && again.Type != Disabled:
			errs = append(errs, fmt.Errorf("float8: %s is %q for %s and %q for %s; an operand that is cast for both matmuls has one scaling_type",
				o.name, first.Type, one, again.Type, two))
		}
	}
	for _, m := range matMuls {
		a, b := r.Cast[m.a], r.Cast[m.b]
		switch {
		case (a.Type == Disabled) != (b.Type == Disabled):
			errs = append(errs, fmt.Errorf("float8: matmul %s mixes precisions: %v is %q, %v is %q; set both or neither", m.name, m.a, a.Type, m.b, b.Type))
		case a.Type != Disabled && a.Format == dtype.Float8E5M2 && b.Format == dtype.Float8E5M2:
			errs = append(errs, fmt.Errorf("float8: matmul %s would be e5m2 × e5m2, which the hardware has not; make one side e4m3", m.name))
		}
	}
	if r.Config.EnableFsdpFloat8AllGather {
		errs = append(errs, r.checkAllGather())
	}
	return errs
}

// checkAllGather finds weights whose float8 bytes do not serve both matmuls that a
// gathered weight is in.
func (r Recipe) checkAllGather() error {
	const field = "float8: EnableFsdpFloat8AllGather = true"
	w, again := r.Cast[nn.Weight], r.Cast[nn.WeightForGI]
	switch {
	case w.Type == Disabled:
		return fmt.Errorf("%s, but the weight is not cast (w: %s): there is nothing to gather in float8; set it to false", field, w.Type)
	case w.Granularity != again.Granularity:
		return fmt.Errorf("%s needs a weight whose float8 bytes serve both matmuls, found w: %s and w_gi: %s; set it to false, or use recipe %q or %q",
			field, w.Granularity, again.Granularity, RecipeTensorwise, RecipeRowwise)
	case w.Granularity == Axiswise && r.Cast[nn.GradOut].Type != Dynamic:
		return fmt.Errorf("%s folds the scales of the weight's rows into grad_output, whose scaling_type must be %q then, found go: %s; set it to false, or use recipe %q or %q",
			field, Dynamic, r.Cast[nn.GradOut].Type, RecipeTensorwise, RecipeRowwise)
	case again.Type == Disabled:
		return fmt.Errorf("%s needs a weight whose float8 bytes serve both matmuls, found w: %s and w_gi: %s; set it to false, or use recipe %q or %q",
			field, w.Type, again.Type, RecipeTensorwise, RecipeRowwise)
	}
	return nil
}

// checkDelayed finds histories that cannot be.
func (c Float8LinearConfig) checkDelayed() (errs []error) {
	if !c.RequiresSync() {
		return nil
	}
	d := c.DelayedScalingConfig
	if d.HistoryLen < 1 {
		errs = append(errs, fmt.Errorf("float8: delayed_scaling_config: history_len = %d: must be at least 1 (16 is usual)", d.HistoryLen))
	}
	if d.ScaleFnName != "max" {
		errs = append(errs, fmt.Errorf(`float8: delayed_scaling_config: scale_fn_name %q: only "max" is implemented`, d.ScaleFnName))
	}
	return errs
}
