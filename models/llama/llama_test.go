// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// torchtitan's names of a layer, in the order of the state dict.
var layerNames = []string{
	"attention.wq", "attention.wk", "attention.wv", "attention.wo",
	"feed_forward.w1", "feed_forward.w2", "feed_forward.w3", "attention_norm", "ffn_norm",
}

// TestFlavorsAreTorchtitans compares sizes with torchtitan's and with the
// parameter counts that Meta's models have; those of 1B and 3B count the tied
// weight once.
func TestFlavorsAreTorchtitans(t *testing.T) {
	for _, tt := range []struct {
		flavor         string
		params, hidden int
	}{
		{"debugmodel", 6_163_712, 768},
		{"1B", 1_235_814_400, 8192},
		{"3B", 3_212_749_824, 8192},
		{"8B", 8_030_261_248, 14336},
		{"70B", 70_553_706_496, 28672},
		{"405B", 405_853_388_800, 53248},
	} {
		t.Run(tt.flavor, func(t *testing.T) {
			args, err := Flavor(tt.flavor)
			if err != nil {
				t.Fatal(err)
			}
			if args.Hidden() != tt.hidden {
				t.Errorf("feed-forward of %d, want %d", args.Hidden(), tt.hidden)
			}
			if args.Params() != tt.params {
				t.Errorf("%d parameters by formula, want %d", args.Params(), tt.params)
			}
			want := []string{"tok_embeddings.weight", "norm.weight"}
			if !args.Tied {
				want = append(want, "output.weight")
			}
			for i := range args.Layers {
				for _, name := range layerNames {
					want = append(want, fmt.Sprintf("layers.%d.%s.weight", i, name))
				}
			}
			var names []string
			sum := 0
			for name, p := range nn.Parameters(New(args, 2048)) {
				names = append(names, name)
				sum += p.Numel()
				if p.Shard != nil {
					t.Fatalf("%s has memory", name)
				}
			}
			slices.Sort(names)
			slices.Sort(want)
			if !slices.Equal(names, want) {
				t.Errorf("names %q, want %q", names, want)
			}
			if sum != tt.params {
				t.Errorf("%d parameters by their shapes, want %d", sum, tt.params)
			}
			if err := args.Validate(2048); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHiddenIsRoundedUp(t *testing.T) {
	for _, tt := range []struct {
		args Args
		want int
	}{
		{Args{Dim: 64, MultipleOf: 32}, 192},                        // 8·64/3 = 170
		{Args{Dim: 64, MultipleOf: 1}, 170},                         // as it is
		{Args{Dim: 96, MultipleOf: 64}, 256},                        // 256 already is one
		{Args{Dim: 64, MultipleOf: 16, FFNDimMultiplier: 1.3}, 224}, // 1.3·170 = 221
		{Args{Dim: 64, MultipleOf: 16, FFNDimMultiplier: 0.5}, 96},  // 85
		{Args{Dim: 64, FFNHiddenDim: 7, MultipleOf: 16}, 7},         // given outright
		{Args{Dim: 64, FFNHiddenDim: 7, FFNDimMultiplier: 1.3}, 7},  // given outright
		{Args{Dim: 4096, MultipleOf: 1024, FFNDimMultiplier: 1.3}, 14336},
	} {
		if got := tt.args.Hidden(); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.args, got, tt.want)
		}
	}
}

func TestBadSizesAreNamed(t *testing.T) {
	good := Args{Dim: 64, Layers: 1, Heads: 4, KVHeads: 2, Vocab: 8, MaxSeqLen: 128}
	for _, tt := range []struct {
		change func(*Args)
		want   string
	}{
		{func(a *Args) { a.Heads = 5 }, "Args.Heads = 5 does not divide Args.Dim = 64"},
		{func(a *Args) { a.KVHeads = 3 }, "Args.KVHeads = 3 does not divide Args.Heads = 4"},
		{func(a *Args) { a.Dim = 12 }, "Args.Dim / Heads = 3 is odd"},
		{func(a *Args) { a.HeadSize = 5 }, "Args.HeadSize = 5 is odd"},
		{func(a *Args) { a.ScaledRope, a.RopeLowFreq, a.RopeHighFreq = true, 4, 4 }, "Args.RopeLowFreq = 4 is not below Args.RopeHighFreq = 4"},
		{func(a *Args) { a.MaxSeqLen = 64 }, "seqLen = 100 is more than Args.MaxSeqLen = 64"},
		{func(a *Args) { a.Heads, a.MaxSeqLen = 6, 1 }, "Args.Heads = 6"},
	} {
		a := good
		tt.change(&a)
		if err := a.Validate(100); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
	if err := good.Validate(100); err != nil {
		t.Error(err)
	}
	if _, err := Flavor("9B"); err == nil || !strings.Contains(err.Error(), `llama.Flavor = "9B"`) || !strings.Contains(err.Error(), "405B, 70B, 8B") {
		t.Errorf("error %v, want one with the name and what there is", err)
	}
}

// tiny is a model whose every size differs.
func tiny(tied bool) Args {
	return Args{Dim: 8, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 11, FFNHiddenDim: 6, NormEps: 1e-5, RopeTheta: 100, MaxSeqLen: 5, Tied: tied}
}

func rig(t *testing.T) *nntest.Rig {
	t.Helper()
	return nntest.New(t, ranks.Device(t, ranks.Options{ISA: "portable"}), dtype.Float32)
}

func TestBackwardOfTheWholeModel(t *testing.T) {
	for name, tied := range map[string]bool{"untied": false, "tied": true} {
		t.Run(name, func(t *testing.T) {
			r := rig(t)
			m := New(tiny(tied), 5)
			// Weights so small that finite differences see straight lines.
			r.Load(m, func(p *nn.Param) []float32 {
				if p.Name == "tok_embeddings.weight" || len(p.Shape) == 1 {
					return r.Random(p)
				}
				return r.Normal(p.Numel(), 0.2)
			})
			r.Gradient(m, r.IDs([]int32{1, 10, 0, 3, 3, 7, 2, 9, 10, 1}, 2, 5), 10*11)
		})
	}
}

// TestFirstLossIsOfGuessing: every flavour, cut to one layer of a width that a
// test can hold, begins near ln(vocab), the loss of who knows nothing. Tied
// weights are too large for the output if they start as an embedding does.
func TestFirstLossIsOfGuessing(t *testing.T) {
	for name, args := range Flavors() {
		t.Run(name, func(t *testing.T) {
			const batch, seq, widest = 2, 64, 1024
			if width := min(args.Dim, widest); width < args.Dim {
				args.Heads, args.KVHeads = args.Heads*width/args.Dim, max(1, args.KVHeads*width/args.Dim)
				args.Dim = width
			}
			args.Layers, args.Vocab = 1, 4096
			r := nntest.New(t, ranks.Device(t, ranks.Options{}), dtype.BFloat16)
			m := New(args, seq)
			r.Load(m, func(p *nn.Param) []float32 {
				x := make([]float32, p.Numel())
				p.Init.Fill(x, 1, p.Name, 0)
				return x
			})
			ids, targets := make([]int32, batch*seq), make([]int32, batch*seq)
			for i := range ids {
				ids[i], targets[i] = int32(i*i%args.Vocab), int32((i*i+5*i+7)%args.Vocab)
			}
			loss := r.Loss(1.0 / (batch * seq))
			nn.CrossEntropy(r.Ctx, m.Forward(r.Ctx, nn.Input(r.IDs(ids, batch, seq))), r.IDs(targets, batch, seq))
			if got, want := float64(r.Get(loss)[0]), math.Log(float64(args.Vocab)); math.Abs(got-want) > 0.15*want {
				t.Errorf("loss %.3f, want within 15%% of %.3f", got, want)
			}
		})
	}
}

// TestCrossEntropyStartsTheBackward compares the gradient of the loss, with a
// target that is ignored, with that of the logits given by hand.
func TestCrossEntropyStartsTheBackward(t *testing.T) {
	r := rig(t)
	m := New(tiny(false), 5)
	params := r.Load(m, r.Random)
	ids := r.IDs([]int32{1, 10, 0, 3, 3}, 1, 5)
	targets := []int32{4, -100, 0, 7, 10}
	loss := r.Loss(0.25)
	logits := m.Forward(r.Ctx, nn.Input(ids))
	z := r.Get(logits.Value.Tensor)
	nn.CrossEntropy(r.Ctx, logits, r.IDs(targets, 1, 5))
	got := r.Get(loss)[0]
	r.Ctx.Tape.Backward()
	var gradients [][]float32
	for _, p := range params {
		gradients = append(gradients, r.Grad(p))
	}
	want, dz := crossEntropy(z, targets, 0.25)
	if d := nntest.Off([]float32{got}, []float32{float32(want)}); d > 1e-6 {
		t.Errorf("loss %v, want %v", got, want)
	}
	r.Pass(m, nn.Input(ids), dz)
	for i, p := range params {
		if d := nntest.Off(gradients[i], r.Grad(p)); !(d < 1e-5) {
			t.Errorf("gradient of %s: off by %.2g", p.Name, d)
		}
	}
}

// crossEntropy is scale·Σ -log softmax(z)[target] and its gradient, in float64.
func crossEntropy(z []float32, targets []int32, scale float64) (loss float64, dz []float32) {
	v := len(z) / len(targets)
	dz = make([]float32, len(z))
	for t, target := range targets {
		if target < 0 {
			continue
		}
		row, sum := z[t*v:(t+1)*v], 0.0
		for _, x := range row {
			sum += math.Exp(float64(x))
		}
		loss += scale * (math.Log(sum) - float64(row[target]))
		for i, x := range row {
			dz[t*v+i] = float32(scale * math.Exp(float64(x)) / sum)
		}
		dz[t*v+int(target)] -= float32(scale)
	}
	return loss, dz
}

func TestStepsReuseTheirMemory(t *testing.T) {
	r := rig(t)
	m := New(tiny(false), 5)
	r.Load(m, r.Random)
	ids, dy := r.IDs([]int32{1, 10, 0, 3, 3}, 1, 5), r.Normal(5*11, 1)
	var live, allocs [4]int
	for step := range live {
		r.Pass(m, nn.Input(ids), dy)
		live[step], allocs[step] = r.Ctx.Pool.Live(), r.Device.Allocs
	}
	// The rotary table, made in the first step, lasts.
	if live != [4]int{} || r.Ctx.Pool.Lasting().Live() == 0 {
		t.Errorf("bytes in use after each step %v, lasting %d, want none but the rotary table", live, r.Ctx.Pool.Lasting().Live())
	}
	if allocs[1] != allocs[3] {
		t.Errorf("allocations by the device after each step %v, want no more after the second", allocs)
	}
}
