// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !amd64

package cpu

import "unsafe"

// tileC is not reached: without C there is only the portable unit.
func (p *product) tileC(tile, []byte) { panic("cpu: MatMul: built without cgo") }

// packSeries is not reached either.
func (s *Stream) packSeries(*product, grid) unsafe.Pointer { panic("cpu: MatMul: built without cgo") }
