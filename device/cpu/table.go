// SPDX-License-Identifier: Apache-2.0

package cpu

import "octet/device"

// table holds the inner function of every kernel for one instruction set. The
// Go functions are the oracle of the others; a Stream's methods check shapes,
// cut the work into pieces and call these on each.
type table struct {
	convert       func(dst, src vec)
	add           func(dst, a, b vec)
	amax          func(x vec) uint32
	cast          func(dst, src vec, scale float32)
	castMatrix    func(dst, dstT, src vec, rows, cols, lo, hi int, fold, scale factors)
	amaxRows      func(dst []uint32, x vec, fold factors)
	amaxColumns   func(dst []uint32, x vec, fold factors)
	widen         func(dst, src vec, values *[256]float32)
	transpose     func(dst, src vec, rows, cols, lo, hi int)
	addBias       func(y, bias vec)
	sumRows       func(dst []float32, x vec)
	rmsNorm       func(y, sum vec, rstd []float32, x, residual, w vec, eps float32, amax *uint32)
	rmsNormGrad   func(dx vec, dw []float32, dy, s vec, rstd []float32, w, add vec, amax *uint32)
	rope          func(x vec, angles []float32, pos []int32, heads, hd, first int, inverse bool, amax *uint32)
	attend        func(a *attention, b, kv int, mem []float32)
	attendGrad    func(a *attentionGrad, b, kv int, mem []float32)
	swiGLU        func(h, gate, up vec, amax *uint32)
	swiGLUGrad    func(dgate, dup, dh, gate, up vec, gateAmax, upAmax *uint32)
	activate      func(y, x vec, f device.Activation)
	activateGrad  func(dx, dy, x vec, f device.Activation)
	layerNorm     func(y vec, mean, rstd []float32, x, w, b vec, eps float32)
	layerNormGrad func(dx vec, dw []float32, dy, x vec, mean, rstd []float32, w, add vec)
	squaredError  func(y, target vec, scale float32) float64
	crossEntropy  func(rows []lossRow, logits vec, targets []int32, scale float32)
	lossStats     func(rows []lossRow, logits vec, targets []int32, offset int)
	lossGrad      func(rows []lossRow, logits vec, targets []int32, offset int, scale float32)
	sumSquares    func(x vec) float64
	adamW         func(p, g, m, v vec, c *adamWCoef)
}

// portable is the table in Go.
func portable() *table {
	return &table{
		convert:       convertGo,
		add:           addGo,
		amax:          amaxGo,
		cast:          castGo,
		castMatrix:    castMatrixGo,
		amaxRows:      amaxRowsGo,
		amaxColumns:   amaxColumnsGo,
		widen:         widenGo,
		transpose:     transposeGo,
		addBias:       addBiasGo,
		sumRows:       sumRowsGo,
		rmsNorm:       rmsNormGo,
		rmsNormGrad:   rmsNormGradGo,
		rope:          ropeGo,
		attend:        attendGo,
		attendGrad:    attendGradGo,
		swiGLU:        swiGLUGo,
		swiGLUGrad:    swiGLUGradGo,
		activate:      activateGo,
		activateGrad:  activateGradGo,
		layerNorm:     layerNormGo,
		layerNormGrad: layerNormGradGo,
		squaredError:  squaredErrorGo,
		crossEntropy:  crossEntropyGo,
		lossStats:     lossStatsGo,
		lossGrad:      lossGradGo,
		sumSquares:    sumSquaresGo,
		adamW:         adamWGo,
	}
}
