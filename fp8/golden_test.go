// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/golden"
	"octet/test/ranks"
)

// eachISA runs f with the kernels of every instruction set, as OCTET_CPU_ISA
// names them.
func eachISA(t *testing.T, f func(t *testing.T, isa string)) {
	for _, isa := range []string{"portable", "avx2", "avx512", "avx512bf16", "avx512fp16"} {
		t.Run(isa, func(t *testing.T) {
			ranks.Device(t, ranks.Options{ISA: isa}) // or skip
			f(t, isa)
		})
	}
}

// convert makes l compute in tensor-wise float8.
func convert(t *testing.T, l *nn.Linear, change func(*fp8.Float8LinearConfig)) {
	t.Helper()
	cfg := fp8.DefaultConfig()
	change(&cfg)
	if _, err := fp8.ConvertToFloat8Training(l, cfg, fp8.FilterFQNs()); err != nil {
		t.Fatal(err)
	}
}

// TestLinearIsTorchaos compares a float8 Linear with torchao's, which multiplies
// in float32 (emulate). The kernels that multiply float8 itself must agree but
// for the unit of AVX512-FP16, which may sum the output, not the gradients, in
// less (fast accumulation). Other arithmetics do not pass.
func TestLinearIsTorchaos(t *testing.T) {
	types := map[string]dtype.Type{"f32": dtype.Float32, "bf16": dtype.BFloat16}
	for name, act := range types {
		for _, emulate := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/emulate=%v", name, emulate), func(t *testing.T) {
				eachISA(t, func(t *testing.T, isa string) {
					fast := isa == "avx512fp16" && !emulate
					for _, wrong := range linear(t, isa, name, act, fast, func(l *nn.Linear) {
						convert(t, l, func(c *fp8.Float8LinearConfig) { c.Emulate = emulate })
					}) {
						t.Error(wrong)
					}
					for mistake, change := range map[string]func(*fp8.Float8LinearConfig){
						"no float8":     nil,
						"powers of two": func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = true },
						"dY in e4m3":    func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.TargetDType = dtype.Float8E4M3 },
						"dY in e4m3 and W in e5m2": func(c *fp8.Float8LinearConfig) {
							c.CastConfigGradOutput.TargetDType, c.CastConfigWeight.TargetDType = dtype.Float8E4M3, dtype.Float8E5M2
						},
					} {
						if wrong := linear(t, isa, name, act, fast, func(l *nn.Linear) {
							if change != nil {
								convert(t, l, func(c *fp8.Float8LinearConfig) { c.Emulate = emulate; change(c) })
							}
						}); len(wrong) == 0 {
							t.Errorf("%s passes for torchao's", mistake)
						}
					}
				})
			})
		}
	}
}

// linear runs the Linear of a golden file after a change to it, and lists what is
// not torchao's.
func linear(t *testing.T, isa, name string, act dtype.Type, fast bool, change func(*nn.Linear)) (wrong []string) {
	t.Helper()
	const m, k, n = 48, 64, 80
	set := golden.Open(t, "linear_tensorwise_"+name+".safetensors")
	r := nntest.New(t, ranks.Device(t, ranks.Options{ISA: isa}), act)
	l := nn.NewLinear(k, n, nn.LinearOptions{})
	change(l)
	r.Load(l, func(*nn.Param) []float32 { return set.Floats(t, "w") })
	x := nn.Watch(r.As(act, set.Floats(t, "x"), m, k))
	y := r.Pass(l, x, set.Floats(t, "dy"))
	dw := r.Grad(l.Weight)
	if act == dtype.BFloat16 {
		// octet keeps dW in float32, torchao has it in the type of activations.
		for i := range dw {
			dw[i] = dtype.ToBF16(dw[i]).Float32()
		}
	}
	for _, c := range []struct {
		name string
		got  []float32
		fast bool
	}{{"y", y, fast}, {"dx", r.Get(x.Grad().Tensor), false}, {"dw", dw, false}} {
		if off := compare(act, c.got, set.Floats(t, c.name), c.fast); off != "" {
			wrong = append(wrong, c.name+": "+off)
		}
	}
	return wrong
}

// compare holds got to 1e-5 of the norm of want in float32, to one ulp of 99.9%
// of the values in bfloat16; to 4e-3 of the norm where sums were fast: sums of 64
// products in fp16 are off by 1.1e-3, and bfloat16 rounds as much again. It says
// what does not hold.
func compare(act dtype.Type, got, want []float32, fast bool) string {
	bound := 4e-3
	switch {
	case fast:
	case act == dtype.Float32:
		bound = 1e-5
	default:
		far := 0
		for i := range want {
			if ulpsApart(got[i], want[i]) > 1 {
				far++
			}
		}
		if far*1000 > len(want) {
			return fmt.Sprintf("%d of %d values are more than one ulp off", far, len(want))
		}
		return ""
	}
	if d := nntest.Off(got, want); !(d <= bound) {
		return fmt.Sprintf("off by %.2g of its norm, more than %.2g", d, bound)
	}
	return ""
}

// ulpsApart counts the bfloat16 values between two of them.
func ulpsApart(a, b float32) int {
	order := func(x float32) int {
		bits := int(int32(math.Float32bits(x)) >> 16)
		if bits < 0 {
			return -(bits & 0x7FFF)
		}
		return bits
	}
	d := order(a) - order(b)
	return max(d, -d)
}

// layer is an element of the golden layer's tensors: small numbers whose sums
// are exact in float32, so that any order of summation gives the same bits.
func layer(rows, cols, a, o, p int) []float32 {
	x := make([]float32, rows*cols)
	for i := range x {
		r := i / cols
		x[i] = float32((i*a+o)%27-13) / 8 * float32(math.Exp2(float64(r*p%3)))
	}
	return x
}

// The golden layer's hashes, which testdata/golden/hashes.py makes by torchao: the
// first 16 bytes of SHA-256 of the little-endian, row-major bytes.
const (
	hashX, hashW, hashDY = "3297644834307b6f8a8092ccd1c98e4d", "d3b0a2aef440624600174e1c3d6f1474", "7780482590cbc990b9dd3be57d571afd"
	hashI, hashQ, hashGO = "92a309c963b4ff1d8d6a27c539234692", "771420b07967a47732897e395008f811", "1b5078545f410c3a7bb4cb010bb8391f"
	hashY, hashDX        = "8629f0ddab71252838559a3225530a2f", "63dba34e328df072d911ded26d3e23df"
	hashDW               = "16341018cf58f882e53cf7cbea83a661"
)

func hash(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

func bf16Bytes(x []float32) (raw []byte) {
	for _, v := range x {
		raw = binary.LittleEndian.AppendUint16(raw, uint16(dtype.ToBF16(v)))
	}
	return raw
}

// spy keeps what a Caster made, by role.
type spy struct {
	nn.Caster
	rig    *nntest.Rig
	bytes  map[nn.Role]string
	scales map[nn.Role]uint32
}

func (s *spy) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	a, b = s.Caster.Cast(c, x, now, later)
	if a.Type.IsFloat8() {
		s.bytes[now] = hash(s.rig.Bytes(a.Tensor))
		s.scales[now] = math.Float32bits(s.rig.Get(a.Scale)[0])
	}
	return a, b
}

// TestGoldenLayer: scales, float8 bytes and the three products have the bits of
// torchao's, whatever the instruction set, and whether the weight is whole or
// gathered from shards, as bfloat16 or as float8.
func TestGoldenLayer(t *testing.T) {
	const m, k, n = 48, 32, 64
	x, w, dy := layer(m, k, 37, 11, 1), layer(n, k, 53, 29, 2), layer(m, n, 71, 5, 1)
	for _, in := range []struct {
		name, want string
		values     []float32
	}{{"x", hashX, x}, {"W", hashW, w}, {"dY", hashDY, dy}} {
		if got := hash(bf16Bytes(in.values)); got != in.want {
			t.Fatalf("%s is not the golden layer's: hash %s, want %s", in.name, got, in.want)
		}
	}
	equal := func(t *testing.T, what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	// run is one rank of a group. Only rank 0 has a gradient, so that the sum
	// over ranks is its own.
	run := func(t *testing.T, isa string, rank *ranks.Rank, gather, emulate bool) (dw []byte, err error) {
		r := nntest.New(t, rank.Device, dtype.BFloat16)
		l := nn.NewLinear(k, n, nn.LinearOptions{})
		convert(t, l, func(c *fp8.Float8LinearConfig) { c.EnableFsdpFloat8AllGather, c.Emulate = gather, emulate })
		saw := &spy{Caster: l.Caster, rig: r, bytes: map[nn.Role]string{}, scales: map[nn.Role]uint32{}}
		l.Caster = saw
		var root nn.Module = l
		f, err := fsdp.Shard(&root, rank.World, fsdp.Options{Param: dtype.BFloat16}, func(string, nn.Module) bool { return false })
		if err != nil {
			return nil, err
		}
		if err := f.Allocate(r.Device); err != nil {
			return nil, err
		}
		p := l.Weight
		p.Set(r.Ctx.Stream, w[p.Box().Lo[0]*k:p.Box().Hi[0]*k])
		v := nn.Watch(r.As(dtype.BFloat16, x, m, k))
		f.Begin(r.Ctx)
		y := root.Forward(r.Ctx, v)
		if isa != "avx512fp16" || emulate { // which may sum the output in less than float32
			equal(t, "Y", hash(r.Bytes(y.Value.Tensor)), hashY)
		}
		if gather {
			equal(t, "gathered weight", hash(r.Bytes(p.Value().Tensor)), hashQ)
		}
		grad := r.Ctx.New(m, n)
		if rank.Rank == 0 {
			r.Ctx.Stream.Copy(grad, r.Put(dy, m, n))
		} else {
			r.Ctx.Stream.Zero(grad)
		}
		y.SetGrad(grad)
		r.Ctx.Tape.Backward()
		f.Finish(r.Ctx)
		if rank.Rank == 0 {
			equal(t, "dX", hash(r.Bytes(v.Grad().Tensor)), hashDX)
			if !emulate {
				equal(t, "bytes of X", saw.bytes[nn.In], hashI)
				equal(t, "bytes of W", saw.bytes[nn.Weight], hashQ)
				equal(t, "bytes of W in backward", saw.bytes[nn.WeightForGI], hashQ)
				equal(t, "bytes of dY", saw.bytes[nn.GradOut], hashGO)
				for role, want := range map[nn.Role]uint32{nn.In: 0x4289D89E, nn.Weight: 0x4289D89E, nn.WeightForGI: 0x4289D89E, nn.GradOut: 0x4609D89E} {
					if got := saw.scales[role]; got != want {
						t.Errorf("scale of %v: %#08x, want %#08x", role, got, want)
					}
				}
			}
		}
		return bf16Bytes(r.Get(p.LocalGrad())), nil
	}
	eachISA(t, func(t *testing.T, isa string) {
		for n := 1; n <= 4; n++ {
			for _, kind := range []struct {
				name            string
				gather, emulate bool
			}{{"bf16 wire", false, false}, {"float8 wire", true, false}, {"float8 wire, emulated", true, true}, {"emulated", false, true}} {
				t.Run(fmt.Sprintf("%d ranks, %s", n, kind.name), func(t *testing.T) {
					parts := make([][]byte, n)
					ranks.Run(t, n, ranks.Options{ISA: isa}, func(r *ranks.Rank) (err error) {
						parts[r.Rank], err = run(t, isa, r, kind.gather, kind.emulate)
						return err
					})
					var dw []byte
					for _, part := range parts {
						dw = append(dw, part...)
					}
					equal(t, "dW", hash(dw), hashDW)
				})
			}
		}
	})
}
