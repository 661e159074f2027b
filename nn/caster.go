// SPDX-License-Identifier: Apache-2.0

package nn

import "octet/tensor"

// Role is the place of an operand in a Linear's three matmuls.
type Role int

// The roles, in the order in which a recipe prints them.
const (
	In           Role = iota // X in Y = X·Wᵀ
	Weight                   // W in Y
	GradOut                  // dY in dX = dY·W
	InForGW                  // X in dW = dYᵀ·X
	WeightForGI              // W in dX
	GradOutForGW             // dY in dW
	NumRoles
)

// String is the short name recipes print.
func (r Role) String() string {
	return [...]string{"i", "w", "go", "i_gw", "w_gi", "go_gw"}[r]
}

// MatMul names one of a Linear's three matmuls.
type MatMul int

// The three matmuls.
const (
	Output MatMul = iota
	GradInput
	GradWeight
	NumMatMuls
)

// Caster makes the operands of a Linear's three matmuls. Casters are compared
// with ==: equal Casters share casts.
type Caster interface {
	// Cast returns x as role r wants it: x itself, or a new operand, whose
	// memory (data, scale, reciprocal) is from c.Pool and the caller's to free. An operand
	// that is in the wanted form already is returned as it is.
	Cast(c *Ctx, r Role, x tensor.Operand) tensor.Operand
	// Alike reports whether one cast serves both roles of the same tensor.
	Alike(a, b Role) bool
	// FastAccum reports whether the matmul may sum in less than float32.
	FastAccum(m MatMul) bool
	String() string
}

// HighPrecision is the Caster that returns its input.
type HighPrecision struct{}

var _ Caster = HighPrecision{}

func (HighPrecision) Cast(_ *Ctx, _ Role, x tensor.Operand) tensor.Operand { return x }
func (HighPrecision) Alike(_, _ Role) bool                                 { return true }
func (HighPrecision) FastAccum(MatMul) bool                                { return false }
func (HighPrecision) String() string                                       { return "high precision" }
