// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
	"octet/tensor"
)

func embeddingCases() []kernelCase {
	var all []kernelCase
	// Of a vocabulary the table has all, a part from an offset on, or nothing.
	for _, s := range []struct{ tokens, vocab, d, offset, rows int }{
		{0, 4, 4, 0, 4}, {1, 1, 1, 0, 1}, {33, 7, 5, 0, 7}, {300, 50, 200, 0, 50}, {33, 7, 5, 2, 3}, {40, 11, 8, 6, 5}, {300, 50, 200, 17, 20}, {9, 7, 5, 7, 0},
	} {
		tokens, vocab, d := s.tokens, s.vocab, s.d
		all = append(all, kernelCase{fmt.Sprintf("embedding/%dx%dx%d/%d from %d", tokens, vocab, d, s.rows, s.offset), func(h *harness) {
			ids := h.ints(vocab, tokens)
			for _, from := range both {
				for _, to := range both {
					table, y, want := h.normal(from, s.rows, d), h.out(to, tokens, d), []float64{}
					for _, id := range ids.v {
						row := make([]float64, d)
						if at := int(id) - s.offset; at >= 0 && at < s.rows {
							row = table.v[at*d : (at+1)*d]
						}
						want = append(want, row...)
					}
					h.Embedding(y, table.Tensor, ids.Tensor, s.offset, vocab)
					h.want(fmt.Sprint(from, " to ", to), y, round(to, want), 0)
				}
				dy, dtable, grad := h.normal(from, tokens, d), h.out(dtype.Float32, s.rows, d), make([]float64, s.rows*d)
				for t, id := range ids.v {
					if at := int(id) - s.offset; at >= 0 && at < s.rows {
						for c := range d {
							grad[at*d+c] += dy.v[t*d+c]
						}
					}
				}
				h.EmbeddingGrad(dtable, dy.Tensor, ids.Tensor, s.offset, vocab)
				h.want(fmt.Sprint("gradient ", from), dtable, grad, tolerance(dtype.Float32))
			}
		}})
	}
	return all
}

// rmsNorm is y and rstd.
func rmsNorm(s, w []float64, eps float64) (y, rstd []float64) {
	d := len(w)
	y = make([]float64, len(s))
	for r := range len(s) / d {
		row := s[r*d : (r+1)*d]
		scale := 1 / math.Sqrt(dot(row, row)/float64(d)+eps)
		for i, v := range row {
			y[r*d+i] = v * scale * w[i]
		}
		rstd = append(rstd, scale)
	}
	return y, rstd
}

func normCases() []kernelCase {
	const eps = 1e-5
	var all []kernelCase
	for _, s := range [][2]int{{0, 4}, {1, 1}, {3, 7}, {5, 16}, {40, 33}, {70, 256}} {
		rows, d := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("rmsnorm/%dx%d", rows, d), func(h *harness) {
			for _, tx := range both {
				for _, tw := range both {
					name := fmt.Sprint(tx, ",", tw, " ")
					x, res, w := h.normal(tx, rows, d), h.normal(tw, rows, d), h.normal(tw, d)
					y, rstd := h.out(tw, rows, d), h.out(dtype.Float32, rows)
					h.RMSNorm(y, nil, rstd, x.Tensor, nil, w.Tensor, eps, nil)
					wantY, wantR := rmsNorm(x.v, w.v, eps)
					h.want(name+"y", y, wantY, tolerance(tw))
					h.want(name+"rstd", rstd, wantR, tolerance(dtype.Float32))

					// The sum may be written over either input.
					sum := make([]float64, rows*d)
					for i := range sum {
						sum[i] = x.v[i] + res.v[i]
					}
					fresh := h.out(tx, rows, d)
					for i, dst := range []*tensor.Tensor{fresh, res.Tensor, x.Tensor} {
						if i == 2 {
							res = h.put(tw, res.v, rows, d)
						}
						y, rstd := h.out(tw, rows, d), h.out(dtype.Float32, rows)
						h.RMSNorm(y, dst, rstd, x.Tensor, res.Tensor, w.Tensor, eps, nil)
						wantY, wantR := rmsNorm(round(dst.Type, sum), w.v, eps)
						h.want(fmt.Sprint(name, "sum ", i), dst, sum, tolerance(dst.Type))
						h.want(fmt.Sprint(name, "residual y ", i), y, wantY, 2*tolerance(tw))
						h.want(fmt.Sprint(name, "residual rstd ", i), rstd, wantR, tolerance(dtype.BFloat16))
					}
				}
			}
		}})
	}
	for _, s := range [][2]int{{0, 4}, {1, 3}, {3, 7}, {20, 17}, {40, 33}} {
		rows, d := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("rmsnorm gradient/%dx%d", rows, d), func(h *harness) {
			if h.tooLong(rows * rows * d * d) {
				return
			}
			for _, ty := range both {
				for _, tw := range both {
					name := fmt.Sprint(ty, ",", tw, " ")
					x, dy, w := h.normal(ty, rows, d), h.normal(tw, rows, d), h.normal(tw, d)
					add := h.normal(ty, rows, d)
					loss := func() float64 { y, _ := rmsNorm(x.v, w.v, eps); return dot(dy.v, y) }
					wantX, wantW := numericGrad(x.v, loss), numericGrad(w.v, loss)
					_, r := rmsNorm(x.v, w.v, eps)
					rstd := h.put(dtype.Float32, r, rows)
					dx, dw := h.out(ty, rows, d), h.out(dtype.Float32, d)
					h.RMSNormGrad(dx, dw, dy.Tensor, x.Tensor, rstd.Tensor, w.Tensor, nil, nil)
					h.want(name+"dx", dx, wantX, tolerance(ty))
					h.want(name+"dw", dw, wantW, tolerance(dtype.Float32))
					sum := make([]float64, rows*d)
					for i := range sum {
						sum[i] = wantX[i] + add.v[i]
					}
					h.RMSNormGrad(add.Tensor, dw, dy.Tensor, x.Tensor, rstd.Tensor, w.Tensor, add.Tensor, nil)
					h.want(name+"dx over add", add.Tensor, sum, tolerance(ty))
				}
			}
		}})
	}
	return all
}

func ropeCases() []kernelCase {
	var all []kernelCase
	for _, s := range [][4]int{{0, 3, 1, 2}, {1, 1, 1, 2}, {2, 5, 3, 6}, {2, 33, 4, 16}, {1, 9, 2, 128}} {
		b, seq, heads, hd := s[0], s[1], s[2], s[3]
		all = append(all, kernelCase{fmt.Sprintf("rope/%dx%dx%dx%d", b, seq, heads, hd), func(h *harness) {
			var angles []float64
			for range (seq + 2) * hd / 2 {
				sin, cos := math.Sincos(6 * h.rand.Float64())
				angles = append(angles, cos, sin)
			}
			table := h.put(dtype.Float32, angles, seq+2, hd/2, 2)
			for _, ty := range both {
				for _, inverse := range []bool{false, true} {
					x := h.normal(ty, b, seq, heads, hd)
					pos := upTo(0, seq)
					var at32 *tensor.Tensor
					if inverse { // and in any order
						pos = h.ints(seq+2, seq).v
						at32 = h.positions(pos)
					}
					want := make([]float64, len(x.v))
					for i := 0; i < len(want); i += 2 {
						at := int(pos[i/(heads*hd)%seq])*hd + i%hd
						cos, sin := table.v[at], table.v[at+1]
						if inverse {
							sin = -sin
						}
						want[i] = x.v[i]*cos - x.v[i+1]*sin
						want[i+1] = x.v[i]*sin + x.v[i+1]*cos
					}
					h.RoPE(x.Tensor, table.Tensor, at32, inverse, nil)
					h.want(fmt.Sprint(ty, " inverse ", inverse), x.Tensor, want, tolerance(ty))
				}
			}
		}})
	}
	return all
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func swiGLUCases() []kernelCase {
	var all []kernelCase
	for _, n := range sizes {
		all = append(all, kernelCase{fmt.Sprintf("swiglu/%d", n), func(h *harness) {
			for _, ty := range both {
				for _, to := range both {
					name := fmt.Sprint(ty, " to ", to, " ")
					gate, up, dh := h.normal(ty, n), h.normal(ty, n), h.normal(to, n)
					if n > 4 { // where an exponential overflows
						copy(gate.v, []float64{200, -200, 88.5, -88.5, 0})
						gate = h.put(ty, gate.v, n)
					}
					y, dgate, dup := h.out(to, n), h.out(to, n), h.out(to, n)
					wantY, wantG, wantU := make([]float64, n), make([]float64, n), make([]float64, n)
					const step = 1e-6
					silu := func(g float64) float64 { return g * sigmoid(g) }
					for i := range n {
						g := gate.v[i]
						wantY[i] = silu(g) * up.v[i]
						wantU[i] = dh.v[i] * silu(g)
						wantG[i] = dh.v[i] * up.v[i] * (silu(g+step) - silu(g-step)) / (2 * step)
					}
					h.SwiGLU(y, gate.Tensor, up.Tensor, nil)
					h.SwiGLUGrad(dgate, dup, dh.Tensor, gate.Tensor, up.Tensor, nil, nil)
					h.want(name+"h", y, wantY, tolerance(to))
					h.want(name+"dgate", dgate, wantG, tolerance(to))
					h.want(name+"dup", dup, wantU, tolerance(to))
					h.SwiGLUGrad(gate.Tensor, up.Tensor, dh.Tensor, gate.Tensor, up.Tensor, nil, nil)
					h.want(name+"dgate in place", gate.Tensor, wantG, tolerance(ty))
					h.want(name+"dup in place", up.Tensor, wantU, tolerance(ty))
				}
			}
		}})
	}
	return all
}
