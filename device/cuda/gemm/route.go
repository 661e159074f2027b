// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"strings"

	"octet/dtype"
)

// Kind is a way to make a product.
type Kind uint8

// The ways, best first.
const (
	// Direct is one call of cuBLASLt.
	Direct Kind = iota
	// Unscaled is a product without the operands' scales, in float32 memory of its own, and a
	// kernel behind it that multiplies each element by the scales of its row and its column
	// and writes it to D, or adds it.
	Unscaled
	// Own is octet's kernel, which takes any type, shape and layout.
	Own
)

// Route is a way, and what is done around it.
type Route struct {
	Kind Kind
	// Aside, with Direct: the product goes to float32 memory of its own, and a kernel adds it to D.
	Aside bool
	// Why is what stands against a better way; "" for Direct without Aside.
	Why string
}

// String is such as "cuBLASLt" or "own kernel: K 24 is no multiple of 16".
func (r Route) String() string {
	text := [...]string{"cuBLASLt", "cuBLASLt without scales, then a kernel that scales", "own kernel"}[r.Kind]
	if r.Aside {
		text += ", then a kernel that adds"
	}
	if r.Why != "" {
		text += ": " + r.Why
	}
	return text
}

// Modes is what cuBLASLt does on a GPU, as the probe found it.
type Modes struct {
	BF16, F32  bool
	Tensorwise [transpositions]bool // float8, a scale for each operand
	Rowwise    bool                 // float8 TN, a scale for each row and column ("outer vector")
	// Accumulate is D += in float8. cuBLASLt before 13.2 could hang there on capability
	// 9.0 (its release notes), so there it is not tried.
	Accumulate bool
}

// String is the line of the start-up banner, such as "bf16, fp8 tensorwise TN, rowwise TN".
func (m Modes) String() string {
	var all []string
	if m.F32 {
		all = append(all, "f32")
	}
	if m.BF16 {
		all = append(all, "bf16")
	}
	var which []string
	for t := range transpositions {
		if m.Tensorwise[t] {
			which = append(which, t.String())
		}
	}
	if which != nil {
		all = append(all, "fp8 tensorwise "+strings.Join(which, " "))
	}
	if m.Rowwise {
		all = append(all, "rowwise TN")
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}

// Routes are the ways to make a product where cuBLASLt has these modes, best first; the
// last is always octet's own kernel. A later one is for when the library has no algorithm
// for an earlier one, which only it can say.
func Routes(p Problem, can Modes) []Route {
	own := func(why string) []Route { return []Route{{Kind: Own, Why: why}} }
	if p.K == 0 || p.M == 0 || p.N == 0 {
		return own("nothing is summed")
	}
	a, b := p.A.Type, p.B.Type
	switch {
	case a.IsFloat8() && b.IsFloat8():
		return float8Routes(p, can)
	case a != b:
		return own(fmt.Sprintf("cuBLASLt has no %v×%v", a, b))
	case p.A.Scales != None || p.B.Scales != None:
		return own("only float8 has scales in cuBLASLt")
	case a == dtype.BFloat16 && !can.BF16, a == dtype.Float32 && !can.F32:
		return own(fmt.Sprintf("cuBLASLt's probe of %v failed", a))
	case a == dtype.Float32 && p.D != dtype.Float32:
		return own("cuBLASLt has no float32 product with another result")
	}
	return []Route{{Kind: Direct}, {Kind: Own, Why: noAlgorithm}}
}

const noAlgorithm = "cuBLASLt has no algorithm for it"

func float8Routes(p Problem, can Modes) []Route {
	own := func(format string, args ...any) []Route {
		return []Route{{Kind: Own, Why: fmt.Sprintf(format, args...)}}
	}
	t := p.transposition()
	switch {
	case p.A.Type == dtype.Float8E5M2 && p.B.Type == dtype.Float8E5M2:
		return own("cuBLASLt has no e5m2×e5m2")
	case !can.Tensorwise[t]:
		return own("cuBLASLt takes no float8 %v here", t)
	case p.K%float8Align != 0:
		return own("K %d is no multiple of %d", p.K, float8Align)
	case p.N%float8Align != 0:
		return own("N %d is no multiple of %d", p.N, float8Align)
	case min(p.A.Align, p.B.Align, p.DAlign) < float8Align:
		return own("an operand is aligned to %d bytes, of %d", min(p.A.Align, p.B.Align, p.DAlign), float8Align)
	}
	aside := p.Accumulate && !can.Accumulate
	why := ""
	if aside {
		why = "this cuBLASLt is not trusted to add in float8"
	}
	unscaled := func(why string) Route { return Route{Kind: Unscaled, Why: why} }
	last := Route{Kind: Own, Why: noAlgorithm}
	switch rowwise := p.A.Scales == Each && p.B.Scales == Each; {
	case p.A.Scales != Each && p.B.Scales != Each, rowwise && can.Rowwise && t == tn:
		routes := []Route{{Kind: Direct, Aside: aside, Why: why}}
		if rowwise {
			routes = append(routes, unscaled(noAlgorithm))
		}
		return append(routes, last)
	case rowwise:
		return []Route{unscaled("cuBLASLt takes no float8 with row-wise scales here"), last}
	default:
		return []Route{unscaled("cuBLASLt takes row-wise scales of both operands or of none"), last}
	}
}

// asked is the problem that a route asks cuBLASLt for.
func (r Route) asked(p Problem) Problem {
	if r.Kind == Unscaled {
		p.A.Scales, p.B.Scales = None, None
	}
	if r.Kind == Unscaled || r.Aside {
		p.D, p.DAlign, p.Accumulate = dtype.Float32, MaxAlign, false
	}
	return p
}
