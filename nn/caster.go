// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"octet/comm"
	"octet/tensor"
)

// Role is the place of an operand in a Linear's three matmuls (torchao's
// GemmInputRole, and its overrides cast_config_*_for_grad_*).
type Role int

// The roles, in the order in which a recipe prints them. Those of grad_weight
// read their tensor along the other dimension.
const (
	In           Role = iota // X in Y = X·Wᵀ
	Weight                   // W in Y
	GradOut                  // dY in dX = dY·W
	InForGW                  // X in dW = dYᵀ·X
	WeightForGI              // W in dX
	GradOutForGW             // dY in dW
	NumRoles
	NoRole Role = -1 // there is no such matmul
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

// Caster makes the operands of one Linear's three matmuls: what torchao's Float8Linear
// does to its input, its weight and grad_output in a forward and an autograd function
// of its own.
type Caster interface {
	// Cast returns x as role now wants it and, in the same read of x, as the
	// role later does, of a matmul that comes after (NoRole: none, an empty
	// operand). Each is x itself, or has memory of its own (data, scale and
	// reciprocal) that is from c.Pool and the caller's to free, or is the same
	// operand as the other. An operand that is in the wanted form already is
	// returned as it is.
	Cast(c *Ctx, x tensor.Operand, now, later Role) (a, b tensor.Operand)
	// Serves reports whether what another Caster has made of a common input, as
	// role made, is what this one wants as a role.
	Serves(by Caster, made, want Role) bool
	// FastAccum reports whether the matmul may sum in less than float32.
	FastAccum(m MatMul) bool
	String() string
}

// AmaxReader is a Caster whose casts may begin with the amax of a whole tensor: whoever writes
// the tensor then takes it besides, and the cast is given it (tensor.Operand.Amax).
type AmaxReader interface {
	Caster
	ReadsAmax(role Role) bool
}

// Sharer is a Caster whose casts depend on what it has cast before.
type Sharer interface {
	// Took is told that a cast which by made of a common input, as now and later, serves
	// this one too, which is not asked for a cast of its own.
	Took(c *Ctx, by Caster, now, later Role)
}

// Spreader is a Caster whose scales are those of a whole tensor, of which each rank may have
// a part (package tp).
type Spreader interface {
	Caster
	// Spread says that what the roles read, and the later ones of these, is a part of what the ranks of
	// g have together. Collectives of g are for the stream that casts.
	Spread(g comm.Comm, roles ...Role)
	// Ship casts some rows of a tensor, of which the ranks of g have the others, as a role and its later
	// one read all of them, so that they can be gathered as they are: the scale is
	// that of all. The memory, of data, scale and reciprocal, is the caller's. false: there is no such
	// cast, and the rows travel in high precision.
	Ship(c *Ctx, x tensor.Operand, role Role, g comm.Comm) (tensor.Operand, bool)
	// AsShipped reports whether products read rows that were shipped as they come, row by row: Cast, which returns them, reads none of
	// them before.
	AsShipped(c *Ctx) bool
}

// Agreer is a Caster that makes a scale of grad_output with other ranks, by a collective. Those of
// Linears that read one input need one for all: their gradients are complete together.
type Agreer interface {
	Caster
	// Agrees reports whether it does, and with the same ranks as another one.
	Agrees(with Caster) bool
	// Agree is told the gradients dy of such Linears, whose Casters by are, and that each is cast as GradOut
	// next, in any order and before any other.
	Agree(c *Ctx, by []Agreer, dy []tensor.Operand)
}

// HighPrecision is the Caster that returns its input.
type HighPrecision struct{}

var _ Caster = HighPrecision{}

// Cast is x, twice.
func (HighPrecision) Cast(_ *Ctx, x tensor.Operand, _, later Role) (a, b tensor.Operand) {
	if later == NoRole {
		return x, tensor.Operand{}
	}
	return x, x
}

// Serves needs no sharing: to return the input costs nothing.
func (HighPrecision) Serves(Caster, Role, Role) bool { return false }
func (HighPrecision) FastAccum(MatMul) bool          { return false }
func (HighPrecision) String() string                 { return "high precision" }
