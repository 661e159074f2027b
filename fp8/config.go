// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"errors"
	"fmt"

	"octet/dtype"
	"octet/nn"
)

// RecipeName is a named configuration.
type RecipeName string

// RecipeTensorwise is dynamic scaling with one scale a tensor.
const RecipeTensorwise RecipeName = "tensorwise"

// CastConfig says how one operand is cast. An unset TargetDType is e4m3 for
// input and weight and e5m2 for grad_output.
type CastConfig struct {
	ScalingType        ScalingType
	ScalingGranularity ScalingGranularity
	TargetDType        dtype.Type
}

// Float8LinearConfig has torchao's fields. Make one with DefaultConfig or
// ConfigFromRecipe: its zero value is not the default.
type Float8LinearConfig struct {
	CastConfigInput      CastConfig // X
	CastConfigWeight     CastConfig // W
	CastConfigGradOutput CastConfig // dY

	// EnableFsdpFloat8AllGather sends weights between ranks as float8.
	EnableFsdpFloat8AllGather bool
	// RoundScalesToPowerOf2 applies to every scale, of weights on the wire too.
	RoundScalesToPowerOf2 bool
	// Emulate casts to float8 and multiplies in float32.
	Emulate bool
}

// DefaultConfig is tensor-wise dynamic scaling of all three.
func DefaultConfig() Float8LinearConfig {
	dynamic := CastConfig{ScalingType: Dynamic, ScalingGranularity: Tensorwise}
	return Float8LinearConfig{CastConfigInput: dynamic, CastConfigWeight: dynamic, CastConfigGradOutput: dynamic}
}

// ConfigFromRecipe is the configuration of a named recipe; the empty name is
// the default.
func ConfigFromRecipe(name RecipeName) (Float8LinearConfig, error) {
	switch name {
	case "", RecipeTensorwise:
		return DefaultConfig(), nil
	}
	return Float8LinearConfig{}, fmt.Errorf("fp8: there is no recipe %q; there is %q", name, RecipeTensorwise)
}

// Recipe compiles the configuration, or returns everything wrong with it.
func (c Float8LinearConfig) Recipe() (Recipe, error) {
	r := Recipe{Config: c}
	// Fast accumulation in forward only, as upstream has it.
	r.FastAccum[nn.Output] = !c.Emulate
	var errs []error
	for _, f := range []struct {
		field    string
		cast     CastConfig
		standard dtype.Type
		roles    [2]nn.Role
	}{
		{"cast_config_input", c.CastConfigInput, dtype.Float8E4M3, [2]nn.Role{nn.In, nn.InForGW}},
		{"cast_config_weight", c.CastConfigWeight, dtype.Float8E4M3, [2]nn.Role{nn.Weight, nn.WeightForGI}},
		{"cast_config_grad_output", c.CastConfigGradOutput, dtype.Float8E5M2, [2]nn.Role{nn.GradOut, nn.GradOutForGW}},
	} {
		cast, err := f.cast.compile(f.field, f.standard)
		if err != nil {
			errs = append(errs, err)
		}
		for _, role := range f.roles {
			r.Cast[role] = cast
		}
	}
	errs = append(errs, r.check()...)
	return r, errors.Join(errs...)
}

func (c CastConfig) compile(field string, standard dtype.Type) (Cast, error) {
	cast := Cast{Type: c.ScalingType, Granularity: c.ScalingGranularity, Format: c.TargetDType}
	if cast.Format == dtype.Invalid {
		cast.Format = standard
	}
	switch {
	case cast.Type != Dynamic && cast.Type != Disabled:
		return cast, fmt.Errorf("float8: %s: scaling_type %q; octet has %q and %q", field, cast.Type, Dynamic, Disabled)
	case cast.Granularity != Tensorwise:
		return cast, fmt.Errorf("float8: %s: scaling_granularity %q; octet has %q", field, cast.Granularity, Tensorwise)
	case !cast.Format.IsFloat8():
		return cast, fmt.Errorf(`float8: %s: target_dtype %q is not an 8-bit float; use "e4m3" or "e5m2"`, field, cast.Format)
	}
	return cast, nil
}

// check finds pairs of casts that no matmul can take.
func (r Recipe) check() (errs []error) {
	pairs := [nn.NumMatMuls]struct {
		name string
		a, b nn.Role
	}{{"output", nn.In, nn.Weight}, {"grad_input", nn.GradOut, nn.WeightForGI}, {"grad_weight", nn.GradOutForGW, nn.InForGW}}
	for _, p := range pairs {
		a, b := r.Cast[p.a], r.Cast[p.b]
		switch {
		case (a.Type == Disabled) != (b.Type == Disabled):
			errs = append(errs, fmt.Errorf("float8: matmul %s mixes precisions: %v is %q, %v is %q; set both or neither", p.name, p.a, a.Type, p.b, b.Type))
		case a.Format == dtype.Float8E5M2 && b.Format == dtype.Float8E5M2:
			errs = append(errs, fmt.Errorf("float8: matmul %s would be e5m2 × e5m2, which the hardware has not; make one side e4m3", p.name))
		}
	}
	if r.Config.EnableFsdpFloat8AllGather && r.Cast[nn.Weight].Type == Disabled {
		errs = append(errs, errors.New("float8: EnableFsdpFloat8AllGather is true, but the weight is not cast (w: disabled): there is nothing to gather in float8; set it to false"))
	}
	return errs
}
