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

// Dynamic takes the scale from the tensor that is cast; Disabled leaves the
// operand in high precision.
const (
	Dynamic  ScalingType = "dynamic"
	Disabled ScalingType = "disabled"
)

// ScalingGranularity is what shares one scale.
type ScalingGranularity string

// Tensorwise is one scale for a whole tensor.
const Tensorwise ScalingGranularity = "tensorwise"

// Cast is how one operand becomes float8.
type Cast struct {
	Type        ScalingType
	Granularity ScalingGranularity
	Format      dtype.Type // Float8E4M3 or Float8E5M2
}

// String is such as "dyn_ten_e4m3".
func (c Cast) String() string {
	format := "e4m3"
	if c.Format == dtype.Float8E5M2 {
		format = "e5m2"
	}
	return fmt.Sprintf("%.3s_%.3s_%s", string(c.Type), string(c.Granularity), format)
}

// Recipe is what a configuration means for the three matmuls of a Linear.
type Recipe struct {
	Config    Float8LinearConfig
	Cast      [nn.NumRoles]Cast
	FastAccum [nn.NumMatMuls]bool
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
