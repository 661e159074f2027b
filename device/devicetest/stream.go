// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// RunStream runs the part about streams: it checks the order of work, events, and the way of errors.
func RunStream(t *testing.T, o Options) {
	const n = 1000
	f32 := dtype.Float32
	setup := func(t *testing.T) (*harness, device.Stream) {
		dev := o.Open(t)
		return newHarness(t, dev, t.Name()), dev.NewStream("other")
	}

	t.Run("work runs in order and uploads keep their bytes", func(t *testing.T) {
		h, _ := setup(t)
		x, y := h.normal(f32, n), h.pool.New(f32, n)
		mem := encode(f32, x.v)
		h.Upload(x.Tensor, mem)
		clear(mem)
		h.Copy(y, x.Tensor)
		h.Zero(x.Tensor)
		h.want("copy before zero", y, x.v, 0)
		h.want("zero", x.Tensor, make([]float64, n), 0)
		h.check()
	})

	t.Run("an event joins two streams", func(t *testing.T) {
		h, other := setup(t)
		x, y := h.normal(f32, n), h.out(f32, n)
		for range 100 {
			h.Add(x.Tensor, x.Tensor, x.Tensor)
		}
		want := make([]float64, n)
		for i, v := range x.v {
			want[i] = v * 0x1p100
		}
		other.Wait(h.Record())
		other.Copy(y, x.Tensor)
		h.Wait(other.Record())
		h.want("copy", y, want, 0)
		h.check()
	})

	t.Run("calls return before the work is done", func(t *testing.T) {
		h, other := setup(t)
		x, y := h.normal(f32, n), h.out(f32, n)
		release := o.Hold(h.Stream)
		h.Copy(y, x.Tensor)
		held := h.Record()
		other.Wait(held)
		after := other.Record()
		if held.Done() || after.Done() {
			t.Error("an event happened before the work in front of it")
		}
		release()
		if err := held.Sync(); err != nil {
			t.Fatal(err)
		}
		if !held.Done() {
			t.Error("an event has not happened after its Sync")
		}
		if err := other.Sync(); err != nil {
			t.Fatal(err)
		}
		if !held.Done() || !after.Done() {
			t.Error("an event has not happened after Sync")
		}
		h.want("copy", y, x.v, 0)
		h.check()
	})

	t.Run("an error sticks until Sync and crosses events", func(t *testing.T) {
		h, other := setup(t)
		x, y, mine := h.normal(f32, n), h.out(f32, n), h.put(f32, make([]float64, n), n)
		logits, loss := h.normal(f32, 1, 3), h.put(f32, []float64{0}, 1)
		h.CrossEntropy(loss.Tensor, logits.Tensor, h.put(dtype.Int32, []float64{7}, 1).Tensor, h.one(1))
		h.Copy(mine.Tensor, x.Tensor)
		other.Wait(h.Record())
		other.Copy(y, x.Tensor)
		if err := other.Record().Sync(); err == nil || !strings.Contains(err.Error(), "target 7") {
			t.Errorf("Sync of an event: %v; want the stream's error", err)
		}
		for name, s := range map[string]device.Stream{"first": h.Stream, "second": other} {
			err := s.Sync()
			if err == nil || !strings.Contains(err.Error(), "target 7") || !strings.Contains(err.Error(), "vocabulary of 3") {
				t.Errorf("Sync of the %s stream: %v; want the target and the vocabulary", name, err)
			}
			if err := s.Sync(); err != nil {
				t.Errorf("second Sync of the %s stream: %v", name, err)
			}
		}
		if o.SkipsAfterError {
			h.want("work behind the error is skipped", mine.Tensor, make([]float64, n), 0)
			h.check()
		}
		h.Copy(mine.Tensor, x.Tensor)
		h.results = nil
		h.want("work after Sync runs", mine.Tensor, x.v, 0)
		h.check()
	})

	t.Run("ids outside the table are an error", func(t *testing.T) {
		h, _ := setup(t)
		ids := h.put(dtype.Int32, []float64{0, -1}, 2)
		h.Embedding(h.out(f32, 2, 4), h.normal(f32, 3, 4).Tensor, ids.Tensor, 0, 3)
		if err := h.Sync(); err == nil || !strings.Contains(err.Error(), "id -1") {
			t.Errorf("Sync: %v; want the id", err)
		}
	})

	t.Run("targets outside the vocabulary are an error on every slice", func(t *testing.T) {
		h, _ := setup(t)
		most, sum, label := h.out(f32, 2), h.out(f32, 2), h.out(f32, 2)
		for _, c := range []struct {
			target float64
			vocab  int
			want   string
		}{{6, 6, "target 6 at position 1 is outside the vocabulary of 6"}, {-1, 6, "target -1"}, {6, 7, ""}, {device.Ignored, 6, ""}} {
			h.CrossEntropyStats(most, sum, label, h.normal(f32, 2, 3).Tensor, h.put(dtype.Int32, []float64{0, c.target}, 2).Tensor, 3, c.vocab)
			if err := h.Sync(); (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("target %v of %d: %v; want %q", c.target, c.vocab, err, c.want)
			}
		}
	})

	t.Run("positions that descend, are below 0 or outside the table are an error", func(t *testing.T) {
		h, _ := setup(t)
		x, lse, table := h.normal(f32, 1, 3, 2, 4).Tensor, h.out(f32, 1, 2, 3), h.normal(f32, 8, 2, 2).Tensor
		good := h.positions([]float64{1, 1, 7})
		for _, c := range []struct {
			pos  []float64
			want string
			rope bool
		}{
			{[]float64{0, 5, 4}, "position 4 of query 2 is below 5", false},
			{[]float64{-1, 0, 1}, "position -1 of query 0 is below 0", false},
			{[]float64{0, 1, 8}, "position 8 of token 2 is outside the table of 8", true},
			{[]float64{0, -2, 1}, "position -2 of token 1 is outside the table of 8", true},
		} {
			bad := h.positions(c.pos)
			calls := map[string]func(){"rope": func() { h.RoPE(x, table, bad, false, nil) }}
			if !c.rope {
				calls = map[string]func(){
					"query": func() { h.Attention(h.out(f32, x.Shape...), lse, x, x, x, bad, good, nil) },
					"key":   func() { h.Attention(h.out(f32, x.Shape...), lse, x, x, x, good, bad, nil) },
					"gradient": func() {
						h.AttentionGrad(h.out(f32, x.Shape...), h.out(f32, x.Shape...), h.out(f32, x.Shape...), x, x, x, x, x, lse, bad, nil, nil)
					},
				}
			}
			for name, call := range calls {
				call()
				want := c.want
				if name == "key" {
					want = strings.Replace(want, "query", "key", 1)
				}
				if err := h.Sync(); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s at %v: %v; want %q", name, c.pos, err, want)
				}
			}
		}
		h.RoPE(x, table, good, false, nil)
		h.Attention(h.out(f32, x.Shape...), lse, x, x, x, good, good, nil)
		if err := h.Sync(); err != nil {
			t.Error(err)
		}
	})

	t.Run("wrong shapes and types panic at the call", func(t *testing.T) {
		h, _ := setup(t)
		f8 := dtype.Float8E4M3
		a, b, bytes := h.out(f32, 4, 4), h.out(f32, 4, 5), h.out(f8, 4, 4)
		none, of := tensor.Operand{}, func(x *tensor.Tensor) tensor.Operand { return tensor.Operand{Tensor: x} }
		for name, call := range map[string]func(){
			"copy":                         func() { h.Copy(a, b) },
			"copy type":                    func() { h.Copy(a, bytes) },
			"add":                          func() { h.Add(a, a, b) },
			"amax":                         func() { h.Amax(a, []*tensor.Tensor{b}) },
			"cast":                         func() { h.Cast(tensor.Operand{Tensor: a}, tensor.Operand{}, tensor.Operand{Tensor: a}) },
			"cast transposed":              func() { h.Cast(none, tensor.Operand{Tensor: h.out(f8, 4, 5), Transposed: true}, of(b)) },
			"cast not transposed":          func() { h.Cast(none, of(h.out(f8, 5, 4)), of(b)) },
			"cast to nothing":              func() { h.Cast(none, none, of(b)) },
			"cast of what lies transposed": func() { h.Cast(of(bytes), none, tensor.Operand{Tensor: a, Transposed: true}) },
			"cast with two scales": func() {
				h.Cast(tensor.Operand{Tensor: bytes, Scale: h.out(f32)}, tensor.Operand{Tensor: h.out(f8, 4, 4), Scale: h.out(f32), Transposed: true}, of(a))
			},
			"cast with a bare scale":            func() { h.Cast(tensor.Operand{Tensor: bytes, Scale: h.out(f32, 4)}, none, of(a)) },
			"cast of float8 to several scales":  func() { h.Cast(tensor.Operand{Tensor: bytes, Scale: h.out(f32, 2)}, none, of(bytes)) },
			"widen with a scale":                func() { h.Cast(tensor.Operand{Tensor: a, Scale: h.out(f32)}, none, of(bytes)) },
			"dynamic cast without a scale":      func() { h.DynamicCast(of(bytes), none, of(a), false) },
			"dynamic cast without a reciprocal": func() { h.DynamicCast(tensor.Operand{Tensor: bytes, Scale: h.out(f32)}, none, of(a), false) },
			"dynamic cast of float8": func() {
				h.DynamicCast(tensor.Operand{Tensor: bytes, Scale: h.out(f32), Inv: h.out(f32)}, none, of(h.out(f8, 4, 4)), false)
			},
			"transpose":                 func() { h.Transpose(a, b) },
			"transpose to another type": func() { h.Transpose(h.out(dtype.Int32, 5, 4), b) },
			"scales":                    func() { h.Scales(h.out(f32, 2), h.out(f32, 3), h.out(f32, 2), formats, false) },
			"matmul": func() {
				h.MatMul(a, tensor.Operand{Tensor: a}, tensor.Operand{Tensor: b}, device.MatMulOptions{TransB: true})
			},
			"rmsnorm": func() { h.RMSNorm(a, nil, a, a, nil, a, 0, nil) },
			"rope":    func() { h.RoPE(a, b, nil, false, nil) },
			"positions": func() {
				x := h.out(f32, 1, 3, 2, 4)
				h.Attention(x, h.out(f32, 1, 2, 3), x, x, x, h.positions(upTo(0, 2)), nil, nil)
			},
			"short table": func() { h.RoPE(h.out(f32, 1, 3, 2, 4), h.out(f32, 2, 2, 2), nil, false, nil) },
			"attention":   func() { h.Attention(a, a, a, a, a, nil, nil, nil) },
			"swiglu":      func() { h.SwiGLU(a, a, b, nil) },
			"loss":        func() { h.CrossEntropy(a, b, a, a) },
			"slice": func() {
				h.CrossEntropyStats(h.out(f32, 4), h.out(f32, 4), h.out(f32, 4), a, h.ints(4, 4).Tensor, 3, 6)
			},
			"rescale":    func() { h.RescaleSum(a, a, b) },
			"reciprocal": func() { h.Reciprocal(h.out(f32, 1), h.out(f32, 1)) },
			"adamw":      func() { h.AdamW([]*tensor.Tensor{a}, nil, nil, nil, a, nil, device.AdamWOptions{}) },
			"upload":     func() { h.Upload(a, make([]byte, 3)) },
		} {
			if !panics(call) {
				t.Errorf("%s did not panic", name)
			}
		}
	})
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}
