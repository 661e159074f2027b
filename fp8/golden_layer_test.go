// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/comm/grid"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

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

// layerHashes are what a recipe makes of the golden layer, by torchao: the first 16
// bytes of SHA-256 of the little-endian, row-major bytes of each role's float8 and
// of the products, and the first scales of each role. testdata/golden/hashes.py
// prints them.
type layerHashes struct {
	bytes     map[nn.Role]string
	scales    map[nn.Role][]float32
	y, dx, dw string
	xBy, dyBy float32 // what x and dY are multiplied by in the step; 0: by nothing
}

const (
	hashX, hashW, hashDY       = "3297644834307b6f8a8092ccd1c98e4d", "d3b0a2aef440624600174e1c3d6f1474", "7780482590cbc990b9dd3be57d571afd"
	hashI, hashQ, hashGO       = "92a309c963b4ff1d8d6a27c539234692", "771420b07967a47732897e395008f811", "1b5078545f410c3a7bb4cb010bb8391f"
	hashIRows, hashQRows       = "7e8d98427d72ae7cf174ef5c880ecf14", "f869e79814235b6eb667dd7798b7c217"
	hashGORows, hashQOneOfPow2 = "780ab705b5cb92fab429592c3c215d80", "2f499eb3435033cf3b8981040cfe7465"
)

// golds are the steps of each recipe.
var golds = map[fp8.RecipeName][]layerHashes{
	fp8.RecipeTensorwise: {tensorwise},
	fp8.RecipeDelayed: {tensorwise, // from amax init; then of growing and shrinking operands, without an optimizer's step
		{xBy: 2, dyBy: 0.5, y: "136716fd3e431a10aadc99e179440c83 c3545fbb0bd2a10dc9fa9fcfb447e124 75d748e60b0d3c493e343ffb92239dac", dx: "0e32960fc21ec5d56b02c16359628494", dw: "3af75612dcd8e45003199ee3ac25d164 92a701f87db30c268de05f426d7daf32"},
		{xBy: 0.25, dyBy: 4, y: "7418da652b75ca232502cedcb9fc6f59", dx: "b6ae12c3eaaa3ccb4a5f754ae0c44073", dw: "4ce286240d44d459e43e00d077a38868"},
	},
	fp8.RecipeRowwise: {{
		bytes: map[nn.Role]string{nn.In: hashIRows, nn.Weight: hashQRows, nn.GradOut: hashGORows,
			nn.InForGW: "27a1c377022330a1ba00e7736a0cc0d5", nn.WeightForGI: hashQOneOfPow2, nn.GradOutForGW: "f967b7434f760e73a406eb1f4d1ad831"},
		scales: map[nn.Role][]float32{nn.In: {256, 128, 64}, nn.Weight: {256, 64, 128}, nn.GradOut: {256, 128, 64},
			nn.InForGW: {64, 64, 64}, nn.WeightForGI: {64, 64, 64}, nn.GradOutForGW: {64, 64, 64}},
		y: "3916b1e7cdbb4bec676456e87fa67f3d", dx: "a3b351ac5a60017b44593c0171848284", dw: "d52596e5da98ee145ba1109fb8da5646",
	}},
	fp8.RecipeRowwiseWithGWHP: {{
		bytes:  map[nn.Role]string{nn.In: hashIRows, nn.Weight: hashQRows, nn.GradOut: hashGORows, nn.WeightForGI: hashQOneOfPow2},
		scales: map[nn.Role][]float32{nn.In: {256, 128, 64}, nn.Weight: {256, 64, 128}, nn.GradOut: {256, 128, 64}, nn.WeightForGI: {64}},
		y:      "3916b1e7cdbb4bec676456e87fa67f3d", dx: "a3b351ac5a60017b44593c0171848284", dw: "d52596e5da98ee145ba1109fb8da5646",
	}},
}

var tensorwise = layerHashes{
	bytes: map[nn.Role]string{nn.In: hashI, nn.Weight: hashQ, nn.GradOut: hashGO, nn.InForGW: hashI, nn.WeightForGI: hashQ, nn.GradOutForGW: hashGO},
	scales: map[nn.Role][]float32{nn.In: {one(0x4289D89E)}, nn.Weight: {one(0x4289D89E)}, nn.GradOut: {one(0x4609D89E)},
		nn.InForGW: {one(0x4289D89E)}, nn.WeightForGI: {one(0x4289D89E)}, nn.GradOutForGW: {one(0x4609D89E)}},
	y: "8629f0ddab71252838559a3225530a2f", dx: "63dba34e328df072d911ded26d3e23df", dw: "16341018cf58f882e53cf7cbea83a661",
}

func one(bits uint32) float32 { return math.Float32frombits(bits) }

// folded is what the row-wise wire changes: grad_output's columns are divided by the
// weight's scales before their cast, whose bytes torchao has nowhere, and the
// weight has the bytes of forward, without a scale.
func (g layerHashes) folded() layerHashes {
	g.bytes, g.scales = maps.Clone(g.bytes), maps.Clone(g.scales)
	delete(g.bytes, nn.GradOut)
	delete(g.scales, nn.GradOut)
	g.bytes[nn.WeightForGI], g.scales[nn.WeightForGI] = g.bytes[nn.Weight], nil
	return g
}

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

// spy keeps what a Caster made, by role: the bytes as the tensor itself lies, and
// the first scales.
type spy struct {
	nn.Caster
	rig    *nntest.Rig
	bytes  map[nn.Role]string
	scales map[nn.Role][]float32
}

func (s *spy) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	a, b = s.Caster.Cast(c, x, now, later)
	s.see(a, now)
	if later != nn.NoRole {
		s.see(b, later)
	}
	return a, b
}

func (s *spy) see(o tensor.Operand, role nn.Role) {
	if !o.Type.IsFloat8() {
		return
	}
	raw := s.rig.Bytes(o.Tensor)
	if o.Transposed {
		rows, cols := o.Value()
		lies := make([]byte, len(raw))
		for i := range lies {
			lies[i] = raw[i%cols*rows+i/cols]
		}
		raw = lies
	}
	s.bytes[role] = hash(raw)
	switch {
	case o.Scale != nil:
		s.scales[role] = s.rig.Get(o.Scale)
	case o.Inv != nil: // what was gathered; of powers of two
		for _, inv := range s.rig.Get(o.Inv) {
			s.scales[role] = append(s.scales[role], 1/inv)
		}
	}
	s.scales[role] = s.scales[role][:min(3, len(s.scales[role]))]
}

// among reports whether got is one of the right hashes. There are several where sums times
// reciprocals lie next to the middle between two values in bfloat16: torchao's, which
// multiplies by one reciprocal and then the other; octet's, by their product
// (device.MatMulOptions); and one of float32 sums in another order, of emulated products.
func among(got, right string, emulate bool) bool {
	list := strings.Fields(right)
	if !emulate && len(list) > 1 {
		list = list[1:2]
	}
	return slices.Contains(list, got)
}

// way is how the golden layer is computed.
type way struct {
	recipe              fp8.RecipeName
	isa                 string
	gather, emulate, tn bool
}

// TestGoldenLayer: scales, float8 bytes and the three products have the bits of
// torchao's, whatever the instruction set and the layouts that a device reads, and
// whether the weight is whole or gathered from shards, as bfloat16 or as float8.
func TestGoldenLayer(t *testing.T) {
	for _, in := range []struct {
		name, want string
		values     []float32
	}{{"x", hashX, layer(48, 32, 37, 11, 1)}, {"W", hashW, layer(64, 32, 53, 29, 2)}, {"dY", hashDY, layer(48, 64, 71, 5, 1)}} {
		if got := hash(bf16Bytes(in.values)); got != in.want {
			t.Fatalf("%s is not the golden layer's: hash %s, want %s", in.name, got, in.want)
		}
	}
	kinds := map[string]way{"bf16 wire": {}, "emulated": {emulate: true}, "of one layout": {tn: true},
		"float8 wire": {gather: true}, "float8 wire, emulated": {gather: true, emulate: true}, "float8 wire, of one layout": {gather: true, tn: true}}
	for recipe, want := range golds {
		eachISA(t, func(t *testing.T, isa string) {
			for n := 1; n <= 4; n++ {
				for name, w := range kinds {
					w.recipe, w.isa = recipe, isa
					if w.gather && recipe == fp8.RecipeRowwiseWithGWHP || w.tn && n%2 == 1 {
						continue
					}
					t.Run(fmt.Sprintf("%s/%d ranks, %s", recipe, n, name), func(t *testing.T) { goldenLayer(t, n, w, want) })
				}
			}
		})
	}
}

func goldenLayer(t *testing.T, n int, w way, steps []layerHashes) {
	if w.gather && w.recipe == fp8.RecipeRowwise {
		steps = []layerHashes{steps[0].folded()}
	}
	parts := make([][][]byte, len(steps)) // of each step, the rows of each rank
	for i := range parts {
		parts[i] = make([][]byte, n)
	}
	ranks.Run(t, n, ranks.Options{ISA: w.isa, Float8TN: w.tn}, func(r *ranks.Rank) error {
		return layerOn(t, r, w, steps, func(step int, dw []byte) { parts[step][r.Rank] = dw })
	})
	for i, want := range steps {
		if got := hash(slices.Concat(parts[i]...)); !among(got, want.dw, w.emulate) {
			t.Errorf("step %d: dW: %s, want %s", i+1, got, want.dw)
		}
	}
}

// layerOn is one rank of a group; it passes its rows of each step's dW on. Only rank 0
// has a gradient, so that the sum over ranks is its own.
func layerOn(t *testing.T, rank *ranks.Rank, how way, steps []layerHashes, put func(step int, dw []byte)) error {
	const m, k, n = 48, 32, 64
	w := layer(n, k, 53, 29, 2)
	r := nntest.New(t, rank.Device, dtype.BFloat16)
	l := nn.NewLinear(k, n, nn.LinearOptions{})
	convertBy(t, l, how.recipe, func(c *fp8.Float8LinearConfig) { c.EnableFsdpFloat8AllGather, c.Emulate = how.gather, how.emulate })
	scales := fp8.ScalesOf(l)
	saw := &spy{Caster: l.Caster, rig: r}
	l.Caster = saw
	var root nn.Module = l
	f, err := fsdp.Shard(&root, grid.Line(rank.World, fsdp.Axis), fsdp.Options{Param: dtype.BFloat16}, func(string, nn.Module) bool { return false })
	if err != nil {
		return err
	}
	if err := f.Allocate(r.Device); err != nil {
		return err
	}
	scales.Allocate(r.Ctx, rank.World)
	p := l.Weight
	p.Set(r.Ctx.Stream, w[p.Box().Lo[0]*k:p.Box().Hi[0]*k])
	for i, want := range steps {
		x, dy := times(want.xBy, layer(m, k, 37, 11, 1)), times(want.dyBy, layer(m, n, 71, 5, 1))
		equal := func(what, got, want string) {
			t.Helper()
			if !among(got, want, how.emulate) {
				t.Errorf("step %d: %s: %s, want %s", i+1, what, got, want)
			}
		}
		saw.bytes, saw.scales = map[nn.Role]string{}, map[nn.Role][]float32{}
		v := nn.Watch(r.As(dtype.BFloat16, x, m, k))
		f.Begin(r.Ctx, true)
		y := root.Forward(r.Ctx, v)
		if how.isa != "avx512fp16" || how.emulate { // which may sum the output in less than float32
			equal("Y", hash(r.Bytes(y.Value.Tensor)), want.y)
		}
		if how.gather && want.bytes != nil {
			equal("gathered weight", hash(r.Bytes(p.Value().Tensor)), want.bytes[nn.Weight])
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
		scales.SyncFloat8AmaxAndScaleHistory(r.Ctx)
		if rank.Rank == 0 {
			equal("dX", hash(r.Bytes(v.Grad().Tensor)), want.dx)
			saw.compare(t, how, want)
		}
		v.FreeGrad(r.Ctx)
		put(i, bf16Bytes(r.Get(p.LocalGrad())))
	}
	return nil
}

// compare holds what was cast in a step to the hashes, where products are not emulated.
func (s *spy) compare(t *testing.T, how way, want layerHashes) {
	t.Helper()
	if how.emulate || want.bytes == nil {
		return
	}
	for role := range nn.NumRoles {
		got, seen := s.bytes[role]
		if w, ok := want.bytes[role]; ok && got != w {
			t.Errorf("bytes of %v: %s, want %s", role, got, w)
		} else if !ok && seen && role != nn.GradOut {
			t.Errorf("%v is cast", role)
		}
		if w, ok := want.scales[role]; ok && !slices.Equal(s.scales[role], w) {
			t.Errorf("scales of %v: %v, want %v", role, s.scales[role], w)
		}
	}
}

// times is x times f, or x where f is 0.
func times(f float32, x []float32) []float32 {
	for i := range x {
		if f != 0 {
			x[i] *= f
		}
	}
	return x
}
