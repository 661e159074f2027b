// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"octet/device"
	"octet/tensor"
)

// Copy is Kernels.Copy's.
func (d Of) Copy(dst, src *tensor.Tensor) {
	d.Hold(sameNumel(dst, src) && (dst.Type == src.Type || isHP(dst, src)), "Copy(dst, src) of equal numel, equal types or high precision", dst, src)
}

// Add is Kernels.Add's.
func (d Of) Add(dst, a, b *tensor.Tensor) {
	d.Hold(isHP(dst, a, b) && sameNumel(dst, a, b), "Add(dst, a, b) of equal numel, high precision", dst, a, b)
}

// AddBias is Kernels.AddBias's.
func (d Of) AddBias(y, bias *tensor.Tensor) {
	d.Hold(isHP(y, bias) && len(bias.Shape) == 1 && y.Dim(-1) == bias.Dim(0), "AddBias(y [R,C], bias [C]), high precision", y, bias)
}

// BiasGrad is Kernels.BiasGrad's.
func (d Of) BiasGrad(db, dy *tensor.Tensor) {
	d.Hold(isHP(dy) && isF32(db, dy.Dim(-1)), "BiasGrad(db float32 [C], dy [R,C])", db, dy)
}

// SwiGLU is Kernels.SwiGLU's.
func (d Of) SwiGLU(h, gate, up, amax *tensor.Tensor) {
	d.Hold(isHP(h, gate, up) && sameNumel(h, gate, up), "SwiGLU(h, gate, up) of equal numel, high precision", h, gate, up)
	d.amax(amax)
}

// SwiGLUGrad is Kernels.SwiGLUGrad's.
func (d Of) SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax *tensor.Tensor) {
	d.Hold(isHP(dgate, dup, dh, gate, up) && sameNumel(dh, dgate, dup, gate, up),
		"SwiGLUGrad(dgate, dup, dh, gate, up) of equal numel, high precision", dgate, dup, dh, gate, up)
	d.amax(gateAmax, upAmax)
}

// Activate is Kernels.Activate's.
func (d Of) Activate(y, x *tensor.Tensor, f device.Activation) {
	d.Hold(isHP(y, x) && sameNumel(y, x) && f <= device.GELUTanh, "Activate(y, x) of equal numel, high precision", y, x)
}

// ActivateGrad is Kernels.ActivateGrad's.
func (d Of) ActivateGrad(dx, dy, x *tensor.Tensor, f device.Activation) {
	d.Hold(isHP(dx, dy, x) && sameNumel(dx, dy, x) && f <= device.GELUTanh, "ActivateGrad(dx, dy, x) of equal numel, high precision", dx, dy, x)
}

// Reciprocal is Kernels.Reciprocal's.
func (d Of) Reciprocal(dst, n *tensor.Tensor) {
	d.Hold(isF32(dst, 1) && isI32(n, 1), "Reciprocal(dst float32 [1], n int32 [1])", dst, n)
}
