// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"strings"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/parallel"
	"octet/test/ranks"
)

func model() nn.Module {
	return llama.New(llama.Args{Dim: 32, Layers: 2, Heads: 2, KVHeads: 2, Vocab: 50, FFNHiddenDim: 48, NormEps: 1e-5, RopeTheta: 100, MaxSeqLen: 8}, 8)
}

func TestPatternsThatMatchNothingAreErrors(t *testing.T) {
	for _, tt := range []struct {
		units []string
		want  []string // empty: no error
	}{
		{[]string{"tok_embeddings", "layers.*", "norm+output"}, nil},
		{[]string{"layers.0", "layers.1"}, nil},
		{[]string{"layers.*.attention", "layers.*"}, nil},
		{nil, nil},
		{[]string{"layers.*", "layers.2"}, []string{`parallel: the plan's unit "layers.2" matches no module`}},
		// A star is one part of a path, and norm is in the group norm+output.
		{[]string{"*", "layers", "*.*.*.*.*"}, []string{`"layers" matches no module`, `"*.*.*.*.*"`}},
		{[]string{"block.*", "tok_embedding"}, []string{`"block.*" matches no module`, `"tok_embedding" matches no module`}},
		{[]string{"layers.["}, []string{`"layers.[" matches no module`}},
	} {
		m := model()
		err := parallel.Plan{Units: tt.units}.Convert(&m)
		if (err != nil) != (tt.want != nil) {
			t.Errorf("%q: error %v, want %q", tt.units, err, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: error %v\nwithout %s", tt.units, err, want)
			}
		}
	}
}

func TestAllErrorsComeTogether(t *testing.T) {
	m := model()
	err := parallel.Plan{Units: []string{"blocks.*"}, Float8: &parallel.Float8{Config: fp8.DefaultConfig()}}.Convert(&m)
	if err == nil || !strings.Contains(err.Error(), `"blocks.*" matches no module`) || !strings.Contains(err.Error(), "output: out_features 50") {
		t.Errorf("error %v, want the pattern and the size", err)
	}
}

// TestAFilterThatMatchesNothingIsNamed: it is a slip of the pen.
func TestAFilterThatMatchesNothingIsNamed(t *testing.T) {
	m := model()
	p := parallel.Plan{Float8: &parallel.Float8{Config: fp8.DefaultConfig(), Skip: []string{"output", "feedforward", ""}}}
	err := p.Convert(&m)
	if want := `Float8.Skip: "feedforward" is part of no linear layer's name`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestFloat8ComesBeforeSharding: the units take the wires that conversion
// chose.
func TestFloat8ComesBeforeSharding(t *testing.T) {
	m := model()
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	p := parallel.Plan{
		Units: []string{"layers.*.attention", "layers.*"}, FSDP: fsdp.Options{Param: dtype.BFloat16},
		Float8: &parallel.Float8{Config: cfg, Skip: []string{"output", "feed_forward"}},
	}
	if err := p.Convert(&m); err != nil {
		t.Fatal(err)
	}
	r := ranks.Open(t, 1, ranks.Options{})[0]
	f, err := p.Shard(m, r.World, r.Device)
	if err != nil {
		t.Fatal(err)
	}
	want := `unit (root), kept after forward
  tok_embeddings.weight              [50 32]       Shard(0) over 1 ranks, rank 0: rows 0:50 of 50, travels as bfloat16
  norm.weight                        [32]          Shard(0) over 1 ranks, rank 0: rows 0:32 of 32, travels as bfloat16
  output.weight                      [50 32]       Shard(0) over 1 ranks, rank 0: rows 0:50 of 50, travels as bfloat16
unit layers.0.attention, freed after forward
  layers.0.attention.wq.weight       [32 32]       Shard(0) over 1 ranks, rank 0: rows 0:32 of 32, travels as float8_e4m3fn
`
	if got := strings.TrimPrefix(f.Plan(), p.String()); !strings.HasPrefix(got, want) {
		t.Errorf("plan\n%swant it to start with\n%s", got, want)
	}
	if n := len(f.Params()); n != 21 {
		t.Errorf("%d parameters in units, want each of 21 once", n)
	}
}

func TestAPlanPrintsItsTable(t *testing.T) {
	cfg := fp8.DefaultConfig()
	plain := parallel.Plan{Units: []string{"layers.*"}, FSDP: fsdp.Options{Param: dtype.Float32, Reshard: fsdp.ReshardNever}}
	float8 := plain
	float8.Float8 = &parallel.Float8{Config: cfg, Skip: []string{"output", "wk"}}
	wire := plain
	cfg.EnableFsdpFloat8AllGather = true
	cfg.Emulate = true
	wire.Float8 = &parallel.Float8{Config: cfg}
	fast := plain
	cfg = fp8.DefaultConfig()
	cfg.GemmConfigGradWeight.UseFastAccum = true
	fast.Float8 = &parallel.Float8{Config: cfg}
	slow := plain
	cfg = fp8.DefaultConfig()
	cfg.GemmConfigOutput.UseFastAccum = false
	slow.Float8 = &parallel.Float8{Config: cfg}
	for _, tt := range []struct {
		plan parallel.Plan
		want string
	}{
		{plain, "fsdp    layers.*\nfsdp    parameters and activations in float32, reshard after forward: never\n"},
		{float8, "float8  every Linear but [\"output\" \"wk\"]: i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2\n" +
			"fsdp    layers.*\nfsdp    parameters and activations in float32, reshard after forward: never\n"},
		{wire, "float8  every Linear but []: i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2, weights travel as float8, products in float32 (emulated)\n" +
			"fsdp    layers.*\nfsdp    parameters and activations in float32, reshard after forward: never\n"},
		{fast, "float8  every Linear but []: i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2, fast accumulation in [\"output\" \"grad_weight\"]\n" +
			"fsdp    layers.*\nfsdp    parameters and activations in float32, reshard after forward: never\n"},
		{slow, "float8  every Linear but []: i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2, fast accumulation in []\n" +
			"fsdp    layers.*\nfsdp    parameters and activations in float32, reshard after forward: never\n"},
	} {
		if got := tt.plan.String(); got != tt.want {
			t.Errorf("got\n%swant\n%s", got, tt.want)
		}
	}
}
