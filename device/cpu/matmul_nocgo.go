// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !amd64

package cpu

// tileC is not reached: without C there is only the portable unit.
func (p *product) tileC(tile, []byte) { panic("cpu: MatMul: built without cgo") }

// packA and packSeries are not reached either.
func (s *Stream) packA(*product, grid)      { panic("cpu: MatMul: built without cgo") }
func (s *Stream) packSeries(*product, grid) { panic("cpu: MatMul: built without cgo") }
