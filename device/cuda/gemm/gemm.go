// SPDX-License-Identifier: Apache-2.0

// Package gemm multiplies matrices on a GPU through cuBLASLt: it says which of its
// products octet may ask for, makes their descriptors once a shape, and runs them.
//
//	lib, err := gemm.Open(lt, cuda, capability) // probes what the library does on this GPU
//	how := lib.Choose(problem)                  // the route, and its plan where it has one
//	err = how.Plan.Run(stream, args)
//
// octet's matrices are row-major and cuBLASLt's column-major: memory of [R,C] is a
// column-major C×R there. So D = A·Bᵀ with D [M,N] is asked for as Dᵀ = B·Aᵀ, of N rows
// and M columns, and octet's right operand is cuBLASLt's first. In float8 the dimension
// that is summed must be contiguous in both (TN), but where the probe found more.
package gemm

import (
	"fmt"
	"strings"

	"octet/dtype"
)

// Scales is how many reciprocals an operand is multiplied by.
type Scales uint8

// None is 1; Each is one for each lane: a row of the left operand, a column of the right.
const (
	None Scales = iota
	One
	Each
)

// Side is one operand: lanes (rows of the left one, columns of the right one) times K.
type Side struct {
	Type        dtype.Type
	KContiguous bool // K is the dimension whose neighbours are neighbours in memory
	LD          int  // elements between neighbours of the other dimension
	Scales      Scales
	Align       int // bytes: a power of two that divides the address and LD; see Alignment
}

// Problem is one product, D = A·B or D += A·B. Problems are compared: equal ones have one plan.
type Problem struct {
	M, N, K    int
	A, B       Side
	D          dtype.Type // [M,N], contiguous
	DAlign     int
	Accumulate bool
	FastAccum  bool
}

// MaxAlign is the alignment of a tensor's first byte: no more is asked for.
const MaxAlign = 256

// Alignment is the largest power of two up to MaxAlign that divides an address and a
// distance in bytes.
func Alignment(address uint64, distance int) int {
	both := address | uint64(distance) | MaxAlign
	return int(both & -both)
}

// float8Align is what cuBLASLt wants of addresses and leading dimensions in float8, in
// bytes; as many elements must divide K and the number of D's columns.
const float8Align = 16

// String is such as "[64,32]·[32,128] e4m3×e4m3 → bf16".
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%d,%d]·[%d,%d] %v×%v → %v", p.M, p.K, p.K, p.N, p.A.Type, p.B.Type, p.D)
	if p.Accumulate {
		b.WriteString(", added")
	}
	return b.String()
}

// transposition is in cuBLASLt's terms: its first operand is octet's B.
func (p Problem) transposition() transposition {
	switch {
	case p.B.KContiguous && p.A.KContiguous:
		return tn
	case p.A.KContiguous:
		return nn
	case p.B.KContiguous:
		return tt
	}
	return nt
}

// transposition is whether cuBLASLt reads its first and its second operand transposed.
type transposition uint8

const (
	tn transposition = iota
	nn
	nt
	tt
	transpositions
)

func (t transposition) String() string { return [...]string{"TN", "NN", "NT", "TT"}[t] }
