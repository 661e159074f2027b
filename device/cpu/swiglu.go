// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/tensor"
)

// SwiGLU is h = silu(gate)·up; see device.Kernels.
func (s *Stream) SwiGLU(h, gate, up, amax *tensor.Tensor) {
	must.SwiGLU(h, gate, up, amax)
	s.do(func() {
		vh, vg, vu := vecOf(h), vecOf(gate), vecOf(up)
		found := s.amaxesOf(amax, slotAmax, count(vh.n, pieceLen))
		s.pieces(vh.n, pieceLen, func(lo, hi int) {
			s.dev.table.swiGLU(vh.part(lo, hi), vg.part(lo, hi), vu.part(lo, hi), found.of(lo/pieceLen))
		})
		found.join()
	})
}

func sigmoidGo(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

func swiGLUGo(h, gate, up vec, amax *uint32) {
	for i := range h.n {
		g := gate.at(i)
		h.set(i, g*sigmoidGo(g)*up.at(i))
	}
	takeAmaxGo(amax, h)
}

// SwiGLUGrad is the gradient of SwiGLU; see device.Kernels.
func (s *Stream) SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax *tensor.Tensor) {
	must.SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax)
	s.do(func() {
		vdg, vdu, vdh, vg, vu := vecOf(dgate), vecOf(dup), vecOf(dh), vecOf(gate), vecOf(up)
		n := count(vdh.n, pieceLen)
		ofGate, ofUp := s.amaxesOf(gateAmax, slotAmax, n), s.amaxesOf(upAmax, slotUpAmax, n)
		s.pieces(vdh.n, pieceLen, func(lo, hi int) {
			i := lo / pieceLen
			s.dev.table.swiGLUGrad(vdg.part(lo, hi), vdu.part(lo, hi), vdh.part(lo, hi), vg.part(lo, hi), vu.part(lo, hi), ofGate.of(i), ofUp.of(i))
		})
		ofGate.join()
		ofUp.join()
	})
}

func swiGLUGradGo(dgate, dup, dh, gate, up vec, gateAmax, upAmax *uint32) {
	for i := range dh.n {
		d, g, u := dh.at(i), gate.at(i), up.at(i)
		sig := sigmoidGo(g)
		dgate.set(i, d*u*sig*(1+g*(1-sig)))
		dup.set(i, d*g*sig)
	}
	takeAmaxGo(gateAmax, dgate)
	takeAmaxGo(upAmax, dup)
}
