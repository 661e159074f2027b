// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// work is what a method of device.Kernels does to a main tensor [rows,cols], and what it must
// move for it: bytes of global memory for each of its elements. A GPU is held to a share of the
// speed at which it copies, of those bytes.
type work struct {
	name        string
	read, wrote float64
	target      float64
	make        func(m *maker) func(k device.Kernels)
}

// maker makes the tensors of a work.
type maker struct {
	rows, cols int
	new        func(t dtype.Type, shape ...int) *tensor.Tensor // of numbers around 1
}

func (m *maker) of(t dtype.Type) *tensor.Tensor { return m.new(t, m.rows, m.cols) }
func (m *maker) bf16() *tensor.Tensor           { return m.of(dtype.BFloat16) }
func (m *maker) f32() *tensor.Tensor            { return m.of(dtype.Float32) }

// fp8 is an operand in float8 with its scales of a shape, and the same in the other layout.
func (m *maker) fp8(scales ...int) (o, t tensor.Operand) {
	scale, inv := m.new(dtype.Float32, scales...), m.new(dtype.Float32, scales...)
	o = tensor.Operand{Tensor: m.of(dtype.Float8E4M3), Scale: scale, Inv: inv}
	t = tensor.Operand{Tensor: m.new(dtype.Float8E4M3, m.cols, m.rows), Scale: scale, Inv: inv, Transposed: true}
	return o, t
}

// cast is a work of a method that casts bf16.
func cast(both bool, scales func(m *maker) []int, f func(k device.Kernels, m *maker, dst, dstT, src tensor.Operand)) func(m *maker) func(k device.Kernels) {
	return func(m *maker) func(k device.Kernels) {
		src := tensor.Operand{Tensor: m.bf16(), Amax: m.new(dtype.Float32)}
		dst, dstT := m.fp8(scales(m)...)
		if !both {
			dstT = tensor.Operand{}
		}
		return func(k device.Kernels) { f(k, m, dst, dstT, src) }
	}
}

func whole(*maker) []int  { return nil }
func rows(m *maker) []int { return []int{m.rows, 1} }
func cols(m *maker) []int { return []int{1, m.cols} }

func dynamic(k device.Kernels, _ *maker, dst, dstT, src tensor.Operand) {
	src.Amax = nil
	k.DynamicCast(dst, dstT, src, false)
}
func dynamicByAmax(k device.Kernels, _ *maker, dst, dstT, src tensor.Operand) {
	k.DynamicCast(dst, dstT, src, false)
}
func given(k device.Kernels, _ *maker, dst, dstT, src tensor.Operand) { k.Cast(dst, dstT, src) }

// works are the rows of the table in docs/gpu.md.
func works() []work {
	bf16, f32 := dtype.BFloat16, dtype.Float32
	return []work{
		{"copy", 2, 2, 1, func(m *maker) func(k device.Kernels) {
			y, x := m.bf16(), m.bf16()
			return func(k device.Kernels) { k.Copy(y, x) }
		}},
		{"zero", 0, 2, .85, func(m *maker) func(k device.Kernels) {
			y := m.bf16()
			return func(k device.Kernels) { k.Zero(y) }
		}},
		{"add", 4, 2, .85, func(m *maker) func(k device.Kernels) {
			y, a, b := m.bf16(), m.bf16(), m.bf16()
			return func(k device.Kernels) { k.Add(y, a, b) }
		}},
		{"copy f32 to bf16", 4, 2, .85, func(m *maker) func(k device.Kernels) {
			y, x := m.bf16(), m.f32()
			return func(k device.Kernels) { k.Copy(y, x) }
		}},
		{"amax bf16", 2, 0, .85, amaxOf(bf16)},
		{"amax f32", 4, 0, .85, amaxOf(f32)},
		{"cast, scale given", 2, 1, .85, cast(false, whole, given)},
		{"cast in both layouts", 2, 2, .80, cast(true, whole, given)},
		{"record cast", 2, 1, .85, func(m *maker) func(k device.Kernels) {
			src, record := tensor.Operand{Tensor: m.bf16()}, m.new(f32)
			dst, _ := m.fp8()
			from, _ := m.fp8()
			return func(k device.Kernels) { k.RecordCast(dst, tensor.Operand{}, src, from, record) }
		}},
		{"dynamic cast", 4, 1, .80, cast(false, whole, dynamic)},
		{"dynamic cast by an amax", 2, 1, .80, cast(false, whole, dynamicByAmax)},
		{"dynamic cast by an amax in both layouts", 2, 2, .80, cast(true, whole, dynamicByAmax)},
		{"dynamic cast in both layouts", 4, 2, .80, cast(true, whole, dynamic)},
		{"dynamic cast by rows", 2, 1, .80, cast(false, rows, dynamic)},
		{"dynamic cast by columns", 4, 1, .80, cast(false, cols, dynamic)},
		{"transpose fp8", 1, 1, .80, func(m *maker) func(k device.Kernels) {
			x, y := m.fp8()
			return func(k device.Kernels) { k.Transpose(y.Tensor, x.Tensor) }
		}},
		{"uncast fp8 to f32", 1, 4, .80, func(m *maker) func(k device.Kernels) {
			y := tensor.Operand{Tensor: m.f32()}
			x, _ := m.fp8()
			return func(k device.Kernels) { k.Cast(y, tensor.Operand{}, x) }
		}},
		{"pack f32 to fp8", 4, 1, .85, func(m *maker) func(k device.Kernels) {
			src := tensor.Operand{Tensor: m.f32()}
			dst, _ := m.fp8()
			return func(k device.Kernels) { k.Cast(dst, tensor.Operand{}, src) }
		}},
		{"rmsnorm", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			y, x, w, rstd := m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(f32, m.rows)
			return func(k device.Kernels) { k.RMSNorm(y, x, rstd, x, nil, w, 1e-5, nil) }
		}},
		{"rmsnorm and residual", 4, 4, .80, func(m *maker) func(k device.Kernels) {
			y, x, sum, res, w, rstd := m.bf16(), m.bf16(), m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(f32, m.rows)
			return func(k device.Kernels) { k.RMSNorm(y, sum, rstd, x, res, w, 1e-5, nil) }
		}},
		{"rmsnorm's gradient", 4, 2, .75, func(m *maker) func(k device.Kernels) {
			dx, dy, x, w, dw, rstd := m.bf16(), m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(f32, m.cols), m.new(f32, m.rows)
			return func(k device.Kernels) { k.RMSNormGrad(dx, dw, dy, x, rstd, w, nil, nil) }
		}},
		{"rmsnorm and amax", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			y, x, w, rstd, amax := m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(f32, m.rows), m.new(f32)
			return func(k device.Kernels) { k.RMSNorm(y, x, rstd, x, nil, w, 1e-5, amax) }
		}},
		{"rmsnorm's gradient and amax", 4, 2, .75, func(m *maker) func(k device.Kernels) {
			dx, dy, x, w, dw, rstd, amax := m.bf16(), m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(f32, m.cols), m.new(f32, m.rows), m.new(f32)
			return func(k device.Kernels) { k.RMSNormGrad(dx, dw, dy, x, rstd, w, nil, amax) }
		}},
		{"layernorm", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			y, x, w, b, mean, rstd := m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(bf16, m.cols), m.new(f32, m.rows), m.new(f32, m.rows)
			return func(k device.Kernels) { k.LayerNorm(y, mean, rstd, x, w, b, 1e-5) }
		}},
		{"layernorm's gradient", 4, 2, .75, func(m *maker) func(k device.Kernels) {
			dx, dy, x, w, dw, mean, rstd := m.bf16(), m.bf16(), m.bf16(), m.new(bf16, m.cols), m.new(f32, m.cols), m.new(f32, m.rows), m.new(f32, m.rows)
			return func(k device.Kernels) { k.LayerNormGrad(dx, dw, dy, x, mean, rstd, w, nil) }
		}},
		{"rope", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			const hd = 128
			x, table := m.bf16(), m.new(f32, m.rows, hd/2, 2)
			x = x.View(1, m.rows, m.cols/hd, hd)
			return func(k device.Kernels) { k.RoPE(x, table, nil, false, nil) }
		}},
		{"rope and amax", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			const hd = 128
			x, table, amax := m.bf16(), m.new(f32, m.rows, hd/2, 2), m.new(f32)
			x = x.View(1, m.rows, m.cols/hd, hd)
			return func(k device.Kernels) { k.RoPE(x, table, nil, false, amax) }
		}},
		{"attention, a tile a sequence", 6, 2, .40, shortAttention(false)},
		{"attention's gradient, a tile a sequence", 20, 6, .35, shortAttention(true)},
		{"swiglu", 4, 2, .80, func(m *maker) func(k device.Kernels) {
			h, gate, up := m.bf16(), m.bf16(), m.bf16()
			return func(k device.Kernels) { k.SwiGLU(h, gate, up, nil) }
		}},
		{"swiglu's gradient", 6, 4, .80, func(m *maker) func(k device.Kernels) {
			dgate, dup, dh, gate, up := m.bf16(), m.bf16(), m.bf16(), m.bf16(), m.bf16()
			return func(k device.Kernels) { k.SwiGLUGrad(dgate, dup, dh, gate, up, nil, nil) }
		}},
		{"swiglu and amax", 4, 2, .80, func(m *maker) func(k device.Kernels) {
			h, gate, up, amax := m.bf16(), m.bf16(), m.bf16(), m.new(f32)
			return func(k device.Kernels) { k.SwiGLU(h, gate, up, amax) }
		}},
		{"swiglu's gradient and amaxes", 6, 4, .80, func(m *maker) func(k device.Kernels) {
			dgate, dup, dh, gate, up, ofGate, ofUp := m.bf16(), m.bf16(), m.bf16(), m.bf16(), m.bf16(), m.new(f32), m.new(f32)
			return func(k device.Kernels) { k.SwiGLUGrad(dgate, dup, dh, gate, up, ofGate, ofUp) }
		}},
		{"gelu", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			y, x := m.bf16(), m.bf16()
			return func(k device.Kernels) { k.Activate(y, x, device.GELUTanh) }
		}},
		{"cross-entropy and gradient", 4, 2, .75, func(m *maker) func(k device.Kernels) {
			loss, logits, targets, scale := m.new(f32, 1), m.bf16(), m.new(dtype.Int32, m.rows), m.new(f32, 1)
			return func(k device.Kernels) { k.CrossEntropy(loss, logits, targets, scale) }
		}},
		{"embedding", 2, 2, .60, func(m *maker) func(k device.Kernels) {
			y, table, ids := m.bf16(), m.bf16(), m.new(dtype.Int32, m.rows)
			return func(k device.Kernels) { k.Embedding(y, table, ids, 0, m.rows) }
		}},
		{"sum of squares f32", 4, 0, .85, func(m *maker) func(k device.Kernels) {
			dst, x := m.new(f32, 1), []*tensor.Tensor{m.f32()}
			return func(k device.Kernels) { k.SumSquares(dst, x) }
		}},
		{"adamw f32", 16, 12, .85, func(m *maker) func(k device.Kernels) {
			p, g, mo, v := []*tensor.Tensor{m.f32()}, []*tensor.Tensor{m.f32()}, []*tensor.Tensor{m.f32()}, []*tensor.Tensor{m.f32()}
			steps, coef := m.new(dtype.Int32, 1), m.new(f32, 1)
			o := device.AdamWOptions{LR: 1e-5, Beta1: .9, Beta2: .95, Eps: 1e-8}
			return func(k device.Kernels) { k.AdamW(p, g, mo, v, steps, coef, o) }
		}},
		{"add bias", 2, 2, .80, func(m *maker) func(k device.Kernels) {
			y, b := m.bf16(), m.new(bf16, m.cols)
			return func(k device.Kernels) { k.AddBias(y, b) }
		}},
		{"bias's gradient", 2, 0, .80, func(m *maker) func(k device.Kernels) {
			db, dy := m.new(f32, m.cols), m.bf16()
			return func(k device.Kernels) { k.BiasGrad(db, dy) }
		}},
	}
}

// shortAttention has sequences of one tile, so that each tensor is read once: longer ones read keys and values again for
// every tile of queries. The gradient is three kernels, and reads do three times, q, k and v twice and o once: by rows' sums, by
// queries and by keys.
func shortAttention(gradient bool) func(m *maker) func(k device.Kernels) {
	const hd = 128
	return func(m *maker) func(k device.Kernels) {
		n, heads := min(m.rows, tileSide), m.cols/hd
		tokens := func() *tensor.Tensor { return m.bf16().View(m.rows/n, n, heads, hd) }
		q, key, v, o, lse := tokens(), tokens(), tokens(), tokens(), m.new(dtype.Float32, m.rows/n, heads, n)
		if !gradient {
			return func(k device.Kernels) { k.Attention(o, lse, q, key, v, nil, nil, nil) }
		}
		do, dq, dk, dv := tokens(), tokens(), tokens(), tokens()
		return func(k device.Kernels) { k.AttentionGrad(dq, dk, dv, do, q, key, v, o, lse, nil, nil, nil) }
	}
}

func amaxOf(t dtype.Type) func(m *maker) func(k device.Kernels) {
	return func(m *maker) func(k device.Kernels) {
		dst, x := m.new(dtype.Float32, 1), []*tensor.Tensor{m.of(t)}
		return func(k device.Kernels) { k.Amax(dst, x) }
	}
}

// TestKernelsMoveNoMoreThanTheyMust: as many bytes as the table says, of tensors of the main one's size. What is smaller, such as
// scales and weights of a row, is read by many threads and comes out of a cache. What reads a tensor again reads one byte
// more of each element, at least; less than a third of that is allowed for what
// all threads of a block read of a row.
func TestKernelsMoveNoMoreThanTheyMust(t *testing.T) {
	const allowed = .3
	r := openKernels(t)
	for _, w := range works() {
		t.Run(w.name, func(t *testing.T) {
			d := &emulated{TB: t, kernels: r, blocks: 4}
			s := d.NewStream("test").(*emulatedStream)
			pool := device.NewPool(d)
			m := &maker{rows: 64, cols: 4096, new: func(ty dtype.Type, shape ...int) *tensor.Tensor {
				x := pool.New(ty, shape...)
				s.Upload(x, someBytes(x))
				return x
			}}
			run := w.make(m)
			s.note = true
			run(s)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			n := m.rows * m.cols
			read, wrote := s.moved(n)
			if read < w.read || read > w.read+allowed || wrote < w.wrote || wrote > w.wrote+allowed {
				t.Errorf("it reads %.3f bytes of each element and writes %.3f; it must %v and %v", read, wrote, w.read, w.wrote)
			}
		})
	}
}

// moved is how many bytes all launches read and wrote of tensors of n elements and more, by n.
func (s *emulatedStream) moved(n int) (read, wrote float64) {
	tables := map[uint64]bool{}
	for _, list := range s.tables {
		for _, t := range list {
			tables[addressOf(t.memory)] = true
		}
	}
	for _, l := range s.ran {
		for i, by := range l.report.By {
			if arg := l.args[i]; tables[arg[0]] || arg[1]>>elementShift >= uint64(n) {
				read += float64(by.Read)
				wrote += float64(by.Written)
			}
		}
	}
	return read / float64(n), wrote / float64(n)
}

// someBytes are numbers between 1 and 2 of any type, in an order that looks like none; integers are 0.
func someBytes(x *tensor.Tensor) []byte {
	mem := make([]byte, x.Bytes())
	if x.Type == dtype.Int32 {
		return mem
	}
	size, state := x.Type.Size(), uint32(1)
	for i := 0; i < len(mem); i += size {
		state = state*1664525 + 1013904223
		fraction := state >> 9 // of 23 bits
		switch bits := 0x3F800000 | fraction; size {
		case 1:
			mem[i] = byte(0x38 | fraction>>20) // e4m3
		case 2:
			mem[i], mem[i+1] = byte(bits>>16), byte(bits>>24)
		case 4:
			mem[i], mem[i+1], mem[i+2], mem[i+3] = byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24)
		}
	}
	return mem
}

// TestTheTableOfTrafficIsDocumented: docs/gpu.md has a row for each.
func TestTheTableOfTrafficIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/gpu.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range works() {
		if row := fmt.Sprintf("| %s | %v | %v | %.0f %% |\n", w.name, w.read, w.wrote, 100*w.target); !strings.Contains(string(page), row) {
			t.Errorf("docs/gpu.md has no row %s", row)
		}
	}
}
