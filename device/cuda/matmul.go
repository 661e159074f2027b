// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"

	"octet/device"
	"octet/device/cuda/api"
	"octet/device/cuda/gemm"
	"octet/device/internal/contract"
	"octet/dtype"
	"octet/tensor"
)

// openProducts opens cuBLASLt. Without it all products are made by octet's own kernels, which
// is slower and otherwise the same: why is the device's warning.
func (d *Device) openProducts(lib *api.CUDA, s api.Search) error {
	lt, err := api.OpenCublasLt(s, lib)
	if err != nil {
		d.warning = fmt.Sprintf("products run on octet's own kernel, which is slower: %v", err)
		return nil
	}
	d.products, err = gemm.Open(lt, lib, gemm.Options{Context: d.context, Major: d.info.Capability / 10, Minor: d.info.Capability % 10,
		Device: d.info.Name, Getenv: s.Getenv, Tell: d.tell, Quiet: d.quiet})
	if err == nil {
		d.warning = d.products.Stale()
	}
	return err
}

// tell notes which products go another way than through cuBLASLt alone.
func (d *Device) tell(text string) {
	if d.trace != nil {
		d.trace.line(text, 0)
	}
}

// Products is what cuBLASLt multiplies here, as "bf16, fp8 tensorwise TN"; "none" without it.
func (d *Device) Products() string {
	if d.products == nil {
		return gemm.Modes{}.String()
	}
	return d.products.Modes().String()
}

// Warning says why the device is slower than it could be; empty where it is not.
func (d *Device) Warning() string { return d.warning }

// MatMul is dst = op(a)·op(b), or dst += op(a)·op(b), through cuBLASLt where that can; see
// device.Kernels.
func (s *Stream) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	x, y := must.MatMul(dst, a, b, o)
	if s.dev.products == nil {
		s.ownMatMul(dst, a, b, x, y, o.Accumulate)
		return
	}
	how := s.dev.products.Choose(problemOf(dst, a, b, x, y, o))
	if how.Kind == gemm.Own {
		s.ownMatMul(dst, a, b, x, y, o.Accumulate)
		return
	}
	args, aside, ok := s.productArgs(how, dst, a, b, x, y)
	if !ok {
		return
	}
	s.usable()
	if err := how.Plan.Run(s.handle, args); err != nil {
		s.fail(fmt.Errorf("cuda: %v = %v·%v on stream %s: %w", dst, a, b, s.name, err))
		return
	}
	switch {
	case how.Kind == gemm.Unscaled:
		l := s.begin(kScaleProduct).dst(dst).src(aside).src(x.Inv).src(y.Inv).u64(y.Lanes)
		s.each(l.bool(x.Each).bool(y.Each).bool(o.Accumulate), dst.Numel(), 8)
	case how.Aside:
		s.Add(dst, dst, aside)
	}
}

// productArgs are what cuBLASLt is given for a product; aside is where it writes that, dst or memory of the stream's own. It is not
// ok where the stream fails for want of memory.
func (s *Stream) productArgs(how gemm.How, dst *tensor.Tensor, a, b tensor.Operand, x, y contract.Side) (args gemm.Args, aside *tensor.Tensor, ok bool) {
	args = gemm.Args{A: addressOf(a.Tensor), B: addressOf(b.Tensor), D: addressOf(dst)}
	aside = dst
	if how.Kind == gemm.Unscaled || how.Aside {
		aside = s.scratch(slotProduct, dtype.Float32, dst.Numel()).View(dst.Shape...)
		args.D = addressOf(aside)
	}
	if how.Kind == gemm.Direct {
		args.AInv, args.BInv = addressOrZero(x.Inv), addressOrZero(y.Inv)
	}
	args.Workspace, ok = s.workspace()
	return args, aside, ok
}

// problemOf is a product as gemm asks cuBLASLt for it.
func problemOf(dst *tensor.Tensor, a, b tensor.Operand, x, y contract.Side, o device.MatMulOptions) gemm.Problem {
	return gemm.Problem{
		M: x.Lanes, N: y.Lanes, K: x.K, A: sideOf(a, x), B: sideOf(b, y),
		D: dst.Type, DAlign: gemm.Alignment(addressOf(dst), y.Lanes*dst.Type.Size()), Accumulate: o.Accumulate, FastAccum: o.FastAccum && a.Type.IsFloat8(),
	}
}

func sideOf(t tensor.Operand, l contract.Side) gemm.Side {
	side := gemm.Side{Type: t.Type, KContiguous: l.KContiguous, LD: l.LD}
	switch {
	case l.Each:
		side.Scales = gemm.Each
	case l.Inv != nil:
		side.Scales = gemm.One
	}
	side.Align = gemm.Alignment(addressOf(t.Tensor), side.LD*t.Type.Size())
	return side
}

func addressOrZero(t *tensor.Tensor) uint64 {
	if t == nil {
		return 0
	}
	return addressOf(t)
}

// workspace is the memory of the stream that cuBLASLt works in: two streams that shared one
// would race.
func (s *Stream) workspace() (address uint64, ok bool) {
	if s.work == nil {
		work, err := s.dev.Alloc(s.dev.products.Workspace())
		if err != nil {
			s.fail(err)
			return 0, false
		}
		s.work = work.(*Buffer)
	}
	return s.work.address, true
}
