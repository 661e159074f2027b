// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"fmt"
	"strings"

	"octet/dtype"
)

// RecipeName is a named configuration.
type RecipeName string

// The named recipes. All but delayed scale dynamically; row-wise ones have one
// scale a row of each matmul's operands, rounded to powers of two, and
// rowwise_with_gw_hp leaves grad_weight in high precision.
const (
	RecipeTensorwise      RecipeName = "tensorwise"
	RecipeRowwise         RecipeName = "rowwise"
	RecipeRowwiseWithGWHP RecipeName = "rowwise_with_gw_hp"
	RecipeDelayed         RecipeName = "delayed"
)

// RecipeNames lists them.
func RecipeNames() []RecipeName {
	return []RecipeName{RecipeTensorwise, RecipeRowwise, RecipeRowwiseWithGWHP, RecipeDelayed}
}

// CastConfig says how one operand is cast. An unset TargetDType is e4m3 for
// input and weight and e5m2 for grad_output.
type CastConfig struct {
	ScalingType        ScalingType
	ScalingGranularity ScalingGranularity
	TargetDType        dtype.Type
}

// GemmConfig says how one matmul sums. A device that has no fast accumulation sums
// in float32.
type GemmConfig struct {
	UseFastAccum bool
}

// DelayedScalingConfig says what delayed scales are made of, for a whole model.
type DelayedScalingConfig struct {
	// HistoryLen is how many steps' amaxes a scale is made of.
	HistoryLen int
	// ScaleFnName is what is taken of them: "max", the only one.
	ScaleFnName string
}

// Float8LinearConfig has torchao's fields. Make one with DefaultConfig or
// ConfigFromRecipe: its zero value is not the default.
//
// The casts for a matmul of backward (…ForGradWeight, …ForGradInput) are, where they
// are the zero CastConfig, those of the first use of the same tensor; and so is a
// TargetDType of theirs that is unset.
type Float8LinearConfig struct {
	CastConfigInput                   CastConfig // X in Y
	CastConfigInputForGradWeight      CastConfig // X in dW
	CastConfigWeight                  CastConfig // W in Y
	CastConfigWeightForGradInput      CastConfig // W in dX
	CastConfigGradOutput              CastConfig // dY in dX
	CastConfigGradOutputForGradWeight CastConfig // dY in dW

	GemmConfigOutput     GemmConfig // Y = X·Wᵀ
	GemmConfigGradInput  GemmConfig // dX = dY·W
	GemmConfigGradWeight GemmConfig // dW = dYᵀ·X

	// EnableFsdpFloat8AllGather sends weights between ranks as float8.
	EnableFsdpFloat8AllGather bool
	// PadInnerDim pads what grad_weight sums over, the tokens, with zeros to a
	// multiple of 16.
	PadInnerDim bool
	// Emulate casts to float8 and multiplies in float32.
	Emulate bool
	// ForceRecomputeFp8WeightInBwd has no effect, in torchao since June 2025 as here:
	// a cast of a weight is never kept for backward.
	ForceRecomputeFp8WeightInBwd bool
	// RoundScalesToPowerOf2 applies to every scale, of weights on the wire too.
	RoundScalesToPowerOf2 bool

	DelayedScalingConfig DelayedScalingConfig
	// EnableAmaxInit makes the first delayed scale of each operand that of its first
	// value, of all ranks. Otherwise it is 1 until the first sync.
	EnableAmaxInit bool
	// EnablePreAndPostForward panics at the first cast after an optimizer's step that
	// SyncFloat8AmaxAndScaleHistory did not come before.
	EnablePreAndPostForward bool
}

// DefaultConfig is tensor-wise dynamic scaling of all three, RecipeTensorwise.
func DefaultConfig() Float8LinearConfig {
	dynamic := CastConfig{ScalingType: Dynamic, ScalingGranularity: Tensorwise}
	return Float8LinearConfig{
		CastConfigInput: dynamic, CastConfigWeight: dynamic, CastConfigGradOutput: dynamic,
		GemmConfigOutput:     GemmConfig{UseFastAccum: true},
		DelayedScalingConfig: DelayedScalingConfig{HistoryLen: 16, ScaleFnName: "max"},
		EnableAmaxInit:       true, EnablePreAndPostForward: true,
	}
}

// ConfigFromRecipe is the configuration of a named recipe; the empty name is
// the default.
func ConfigFromRecipe(name RecipeName) (Float8LinearConfig, error) {
	c := DefaultConfig()
	switch name {
	case "", RecipeTensorwise:
	case RecipeRowwise, RecipeRowwiseWithGWHP:
		rows := CastConfig{ScalingType: Dynamic, ScalingGranularity: Axiswise, TargetDType: dtype.Float8E4M3}
		c.CastConfigInput, c.CastConfigWeight, c.CastConfigGradOutput = rows, rows, rows
		c.RoundScalesToPowerOf2 = true
		if name == RecipeRowwiseWithGWHP {
			off := CastConfig{ScalingType: Disabled, ScalingGranularity: Tensorwise}
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = off, off
			c.CastConfigWeightForGradInput = CastConfig{ScalingType: Dynamic, ScalingGranularity: Tensorwise}
		}
	case RecipeDelayed:
		delayed := CastConfig{ScalingType: Delayed, ScalingGranularity: Tensorwise}
		c.CastConfigInput, c.CastConfigWeight, c.CastConfigGradOutput = delayed, delayed, delayed
	default:
		var names []string
		for _, n := range RecipeNames() {
			names = append(names, fmt.Sprintf("%q", string(n)))
		}
		return Float8LinearConfig{}, fmt.Errorf("fp8: there is no recipe %q; there are %s", name, strings.Join(names, ", "))
	}
	return c, nil
}

// RequiresSync reports whether any cast is delayed: then
// SyncFloat8AmaxAndScaleHistory comes between backward and the optimizer's step.
func (c Float8LinearConfig) RequiresSync() bool {
	for _, o := range c.operands() {
		if o.first.ScalingType == Delayed || o.again.ScalingType == Delayed {
			return true
		}
	}
	return false
}
