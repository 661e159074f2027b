// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !amd64

package cpu

// Without C no instruction set but Portable is available, so none of these is
// called.
func spinF32AVX512(int) int { panic("cpu: built without cgo") }
func spinBF16(int) int      { panic("cpu: built without cgo") }
func spinFP16(int) int      { panic("cpu: built without cgo") }
func spinAMX(int) int       { panic("cpu: built without cgo") }
func spinF32AVX2(int) int   { panic("cpu: built without cgo") }
