// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Zero clears t; see device.Kernels.
func (k *kernels) Zero(t *tensor.Tensor) {
	k.each(k.begin(kFill).dst(t).u32(0), t.Bytes(), 16)
}

// Copy converts src to dst's type; see device.Kernels.
func (k *kernels) Copy(dst, src *tensor.Tensor) {
	must.Copy(dst, src)
	if dst.Type == src.Type {
		k.each(k.begin(kMove).dst(dst).src(src), dst.Bytes(), 16)
		return
	}
	k.each(k.begin(kConvert).dst(dst).src(src), dst.Numel(), 8)
}

// Add is dst = a + b; see device.Kernels.
func (k *kernels) Add(dst, a, b *tensor.Tensor) {
	must.Add(dst, a, b)
	k.each(k.begin(kAdd).dst(dst).src(a).src(b), dst.Numel(), 8)
}

// SwiGLU is h = silu(gate)·up; see device.Kernels.
func (k *kernels) SwiGLU(h, gate, up, amax *tensor.Tensor) {
	must.SwiGLU(h, gate, up, amax)
	k.clear(amax)
	k.each(k.begin(kSwiGLU).dst(h).src(gate).src(up).dst(amax), h.Numel(), 8)
}

// SwiGLUGrad is the gradient of SwiGLU; see device.Kernels.
func (k *kernels) SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax *tensor.Tensor) {
	must.SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax)
	k.clear(gateAmax)
	k.clear(upAmax)
	k.each(k.begin(kSwiGLUGrad).dst(dgate).dst(dup).src(dh).src(gate).src(up).dst(gateAmax).dst(upAmax), dh.Numel(), 8)
}

// Activate is y = f(x); see device.Kernels.
func (k *kernels) Activate(y, x *tensor.Tensor, f device.Activation) {
	must.Activate(y, x, f)
	k.each(k.begin(kActivate).dst(y).src(x).u32(int(f)), y.Numel(), 8)
}

// ActivateGrad is dx = dy·f'(x); see device.Kernels.
func (k *kernels) ActivateGrad(dx, dy, x *tensor.Tensor, f device.Activation) {
	must.ActivateGrad(dx, dy, x, f)
	k.each(k.begin(kActivateGrad).dst(dx).src(dy).src(x).u32(int(f)), dx.Numel(), 8)
}

// Reciprocal is 1/n; see device.Kernels.
func (k *kernels) Reciprocal(dst, n *tensor.Tensor) {
	must.Reciprocal(dst, n)
	k.once(k.begin(kReciprocal).dst(dst).src(n))
}

// AddBias is y[r,c] += bias[c]; see device.Kernels.
func (k *kernels) AddBias(y, bias *tensor.Tensor) {
	must.AddBias(y, bias)
	rows, cols := y.Matrix()
	k.each(k.begin(kAddBias).dst(y).src(bias).u64(rows).u64(cols), rows*count(cols, 8), 1)
}

// BiasGrad is db[c] = Σ_r dy[r,c]; see device.Kernels.
func (k *kernels) BiasGrad(db, dy *tensor.Tensor) {
	must.BiasGrad(db, dy)
	rows, cols := dy.Matrix()
	parts := shares(rows)
	partial := k.scratch(slotPartial, dtype.Float32, parts*cols)
	k.over(k.begin(kRowSums).dst(partial).src(dy).u64(rows).u64(cols).u64(parts), count(cols, 2048)*parts)
	k.sumColumns(db, partial, parts)
}

// shares is into how many sums the rows of a matrix are cut; it depends on nothing else,
// so that no result does on the device.
func shares(rows int) int { return min(count(rows, 16), 256) }

// sumColumns is dst = the sum of partial's rows, in their order.
func (k *kernels) sumColumns(dst, partial *tensor.Tensor, parts int) {
	cols := dst.Numel()
	k.each(k.begin(kColumnSum).dst(dst).src(partial).u64(parts).u64(cols), cols, 1)
}
