// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"fmt"
	"strings"

	"octet/dtype"
	"octet/nn"
)

// ScalingType is when a scale is chosen.
type ScalingType string

// Dynamic takes the scale from the tensor that is cast; Delayed from what was cast in
// the same place in the steps before; Disabled leaves the operand in high precision.
const (
	Dynamic  ScalingType = "dynamic"
	Delayed  ScalingType = "delayed"
	Disabled ScalingType = "disabled"
)

// ScalingGranularity is what shares one scale.
type ScalingGranularity string

// Tensorwise is one scale for a whole tensor; Axiswise one for each vector that a
// matmul sums over.
const (
	Tensorwise ScalingGranularity = "tensorwise"
	Axiswise   ScalingGranularity = "axiswise"
)

// Cast is how one operand becomes float8.
type Cast struct {
	Type        ScalingType
	Granularity ScalingGranularity
	Format      dtype.Type // Float8E4M3 or Float8E5M2
}

// String is such as "dyn_ten_e4m3".
func (c Cast) String() string {
	granularity := "ten"
	if c.Granularity == Axiswise {
		granularity = "axs"
	}
	return fmt.Sprintf("%.3s_%s_%s", string(c.Type), granularity, c.format())
}

func (c Cast) format() string {
	switch c.Format {
	case dtype.Float8E4M3:
		return "e4m3"
	case dtype.Float8E5M2:
		return "e5m2"
	}
	return c.Format.String()
}

// Recipe is what a configuration means for the three matmuls of a Linear.
type Recipe struct {
	Config    Float8LinearConfig
	Cast      [nn.NumRoles]Cast
	FastAccum [nn.NumMatMuls]bool
}

// matMuls are the three, with the roles of their operands.
var matMuls = [nn.NumMatMuls]struct {
	name, out string
	a, b      nn.Role
}{
	nn.Output:     {"output", "as activations", nn.In, nn.Weight},
	nn.GradInput:  {"grad_input", "as activations", nn.GradOut, nn.WeightForGI},
	nn.GradWeight: {"grad_weight", "float32", nn.GradOutForGW, nn.InForGW},
}

// String lists the casts, those of the backward only where they differ.
func (r Recipe) String() string {
	var parts []string
	for role, c := range r.Cast {
		if base := forward(nn.Role(role)); base == nn.Role(role) || c != r.Cast[base] {
			parts = append(parts, fmt.Sprintf("%v:%v", nn.Role(role), c))
		}
	}
	return strings.Join(parts, ",")
}

// Fast lists the matmuls that may sum in less than float32.
func (r Recipe) Fast() (names []string) {
	for m, mm := range matMuls {
		if r.FastAccum[m] {
			names = append(names, mm.name)
		}
	}
	return names
}

// Table is a line for each of the three matmuls: its operands with their casts, whether
// it may sum in less than float32, and the type of what comes out.
func (r Recipe) Table() string {
	var b strings.Builder
	line := func(matmul, a, c, fast, out string) {
		fmt.Fprintf(&b, "%-12s %-19s %-19s %-11s %s\n", matmul, a, c, fast, out)
	}
	line("matmul", "a", "b", "fast accum", "out")
	for m, mm := range matMuls {
		fast := "no"
		if r.FastAccum[m] {
			fast = "yes"
		}
		line(mm.name, fmt.Sprintf("%v:%v", mm.a, r.Cast[mm.a]), fmt.Sprintf("%v:%v", mm.b, r.Cast[mm.b]), fast, mm.out)
	}
	return b.String()
}

// forward is the role in which the same tensor is used first.
func forward(r nn.Role) nn.Role {
	switch r {
	case nn.InForGW:
		return nn.In
	case nn.WeightForGI:
		return nn.Weight
	case nn.GradOutForGW:
		return nn.GradOut
	}
	return r
}
