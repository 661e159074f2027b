// SPDX-License-Identifier: Apache-2.0

//go:build cgo && amd64

package cpu

/*
#include "simd.h"
*/
import "C"

import (
	"slices"
	"unsafe"

	"octet/device"
	"octet/dtype"
)

// tableOf is the table of an instruction set. The fp16 unit matters to matmuls
// alone, those that multiply bf16 to attention, too, and with them comes the instruction
// that rounds to bf16.
func tableOf(isa ISA) *table {
	switch isa {
	case Portable:
		return portable()
	case AVX2:
		return simdTable(&C.simd_avx2)
	}
	if isa != AVX512BF16 && isa != AMXBF16 {
		return simdTable(&C.simd_avx512)
	}
	t := simdTable(&C.simd_avx512bf16)
	attend, attendGrad := t.attend, t.attendGrad
	if isa == AMXBF16 {
		t.attend = func(a *attention, b, kv int, mem []float32) {
			if areBF16(a.o, a.q, a.k, a.v) {
				C.octet_attend_amx(a.c(), C.int64_t(b), C.int64_t(kv), floats(mem))
				return
			}
			attend(a, b, kv, mem)
		}
	}
	t.attendGrad = func(a *attentionGrad, b, kv int, mem []float32) {
		switch bf16 := areBF16(a.o, a.q, a.k, a.v, a.dq, a.dk, a.dv, a.do); {
		case bf16 && isa == AMXBF16:
			C.octet_attend_grad_amx(a.c(), C.int64_t(b), C.int64_t(kv), floats(mem))
		case bf16:
			C.octet_attend_grad_dot(a.c(), C.int64_t(b), C.int64_t(kv), floats(mem))
		default:
			attendGrad(a, b, kv, mem)
		}
	}
	return t
}

func areBF16(all ...vec) bool {
	return !slices.ContainsFunc(all, func(v vec) bool { return v.t != dtype.BFloat16 })
}

func (v vec) c() C.struct_vec {
	return C.struct_vec{p: v.p, n: C.int64_t(v.n), _type: C.int32_t(v.t)}
}

func floats(s []float32) *C.float { return (*C.float)(unsafe.SliceData(s)) }
func ints(s []int32) *C.int32_t   { return (*C.int32_t)(unsafe.SliceData(s)) }

func words(s []uint32) *C.uint32_t { return (*C.uint32_t)(unsafe.SliceData(s)) }
func word(w *uint32) *C.uint32_t   { return (*C.uint32_t)(w) }

func (f factors) c() C.struct_factors {
	return C.struct_factors{p: floats(f.p), row: C.int64_t(f.row), col: C.int64_t(f.col)}
}

func lossRows(s []lossRow) *C.struct_loss_row {
	return (*C.struct_loss_row)(unsafe.Pointer(unsafe.SliceData(s)))
}

func (a *attention) c() C.struct_attention {
	return C.struct_attention{
		b: C.int64_t(a.b), sq: C.int64_t(a.sq), sk: C.int64_t(a.sk), h: C.int64_t(a.h), kv: C.int64_t(a.kv), hd: C.int64_t(a.hd),
		o: a.o.c(), q: a.q.c(), k: a.k.c(), v: a.v.c(), lse: floats(a.lse), seen: ints(a.seen), amax: words(a.amax),
	}
}

func (a *attentionGrad) c() C.struct_attention {
	c := a.attention.c()
	c.dq, c.dk, c.dv, c.d_o = a.dq.c(), a.dk.c(), a.dv.c(), a.do.c()
	return c
}

func simdTable(t *C.struct_simd_table) *table {
	return &table{
		convert: func(dst, src vec) { C.call_convert(t, dst.c(), src.c()) },
		add:     func(dst, a, b vec) { C.call_add(t, dst.c(), a.c(), b.c()) },
		amax:    func(x vec) uint32 { return uint32(C.call_amax(t, x.c())) },
		cast:    func(dst, src vec, scale float32) { C.call_cast(t, dst.c(), src.c(), C.float(scale)) },
		castMatrix: func(dst, dstT, src vec, rows, cols, lo, hi int, fold, scale factors) {
			C.call_cast_matrix(t, dst.c(), dstT.c(), src.c(), C.int64_t(rows), C.int64_t(cols), C.int64_t(lo), C.int64_t(hi), fold.c(), scale.c())
		},
		amaxRows: func(dst []uint32, x vec, fold factors) {
			C.call_amax_rows(t, words(dst), C.int64_t(len(dst)), x.c(), fold.c())
		},
		amaxColumns: func(dst []uint32, x vec, fold factors) {
			C.call_amax_columns(t, words(dst), C.int64_t(len(dst)), x.c(), fold.c())
		},
		widen: func(dst, src vec, values *[256]float32) { C.call_widen(t, dst.c(), src.c(), floats(values[:])) },
		transpose: func(dst, src vec, rows, cols, lo, hi int) {
			C.call_transpose(t, dst.p, src.p, C.int64_t(rows), C.int64_t(cols), C.int64_t(lo), C.int64_t(hi), C.int(src.t.Size()))
		},
		addBias: func(y, bias vec) { C.call_add_bias(t, y.c(), bias.c()) },
		sumRows: func(dst []float32, x vec) { C.call_sum_rows(t, floats(dst), C.int64_t(len(dst)), x.c()) },
		rmsNorm: func(y, sum vec, rstd []float32, x, residual, w vec, eps float32, amax *uint32) {
			C.call_rms_norm(t, y.c(), sum.c(), floats(rstd), C.int64_t(len(rstd)), x.c(), residual.c(), w.c(), C.float(eps), word(amax))
		},
		rmsNormGrad: func(dx vec, dw []float32, dy, s vec, rstd []float32, w, add vec, amax *uint32) {
			C.call_rms_norm_grad(t, dx.c(), floats(dw), dy.c(), s.c(), floats(rstd), C.int64_t(len(rstd)), w.c(), add.c(), word(amax))
		},
		rope: func(x vec, angles []float32, pos []int32, heads, hd, first int, inverse bool, amax *uint32) {
			back := C.int(0)
			if inverse {
				back = 1
			}
			C.call_rope(t, x.c(), floats(angles), ints(pos), C.int64_t(len(pos)), C.int64_t(heads), C.int64_t(hd), C.int64_t(first), back, word(amax))
		},
		attend: func(a *attention, b, kv int, mem []float32) {
			C.call_attend(t, a.c(), C.int64_t(b), C.int64_t(kv), floats(mem))
		},
		attendGrad: func(a *attentionGrad, b, kv int, mem []float32) {
			C.call_attend_grad(t, a.c(), C.int64_t(b), C.int64_t(kv), floats(mem))
		},
		swiGLU: func(h, gate, up vec, amax *uint32) { C.call_swiglu(t, h.c(), gate.c(), up.c(), word(amax)) },
		swiGLUGrad: func(dgate, dup, dh, gate, up vec, gateAmax, upAmax *uint32) {
			C.call_swiglu_grad(t, dgate.c(), dup.c(), dh.c(), gate.c(), up.c(), word(gateAmax), word(upAmax))
		},
		activate: func(y, x vec, f device.Activation) { C.call_activate(t, y.c(), x.c(), C.int(f)) },
		activateGrad: func(dx, dy, x vec, f device.Activation) {
			C.call_activate_grad(t, dx.c(), dy.c(), x.c(), C.int(f))
		},
		layerNorm: func(y vec, mean, rstd []float32, x, w, b vec, eps float32) {
			C.call_layer_norm(t, y.c(), floats(mean), floats(rstd), C.int64_t(len(rstd)), x.c(), w.c(), b.c(), C.float(eps))
		},
		layerNormGrad: func(dx vec, dw []float32, dy, x vec, mean, rstd []float32, w, add vec) {
			C.call_layer_norm_grad(t, dx.c(), floats(dw), dy.c(), x.c(), floats(mean), floats(rstd), C.int64_t(len(rstd)), w.c(), add.c())
		},
		squaredError: func(y, target vec, scale float32) float64 {
			return float64(C.call_squared_error(t, y.c(), target.c(), C.float(scale)))
		},
		crossEntropy: func(rows []lossRow, logits vec, targets []int32, scale float32) {
			C.call_cross_entropy(t, lossRows(rows), C.int64_t(len(rows)), logits.c(), ints(targets), C.float(scale))
		},
		lossStats: func(rows []lossRow, logits vec, targets []int32, offset int) {
			C.call_loss_stats(t, lossRows(rows), C.int64_t(len(rows)), logits.c(), ints(targets), C.int64_t(offset))
		},
		lossGrad: func(rows []lossRow, logits vec, targets []int32, offset int, scale float32) {
			C.call_loss_grad(t, lossRows(rows), C.int64_t(len(rows)), logits.c(), ints(targets), C.int64_t(offset), C.float(scale))
		},
		sumSquares: func(x vec) float64 { return float64(C.call_sum_squares(t, x.c())) },
		adamW: func(p, g, m, v vec, k *adamWCoef) {
			c := C.struct_adamw{grad: C.float(k.grad), decay: C.float(k.decay), l2: C.float(k.l2), m: C.float(k.m), v: C.float(k.v),
				g2: C.float(k.g2), root: C.float(k.root), eps: C.float(k.eps), step: C.float(k.step)}
			C.call_adamw(t, p.c(), g.c(), m.c(), v.c(), c)
		},
	}
}
