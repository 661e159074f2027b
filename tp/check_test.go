// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"flag"
	"os"
	"strings"
	"testing"

	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// TestTheRules has all combinations of layouts that propagate, as text.
func TestTheRules(t *testing.T) {
	const file = "testdata/rules.txt"
	got := Rules()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the rules are now\n%s\nif that is right, go test ./tp -run TheRules -rewrite", got)
	}
}

// checked is Check on n ranks with an input of [B,S] ids, or of [B,S,D].
func checked(t *testing.T, p Plan, m nn.Module, n int, shape ...int) error {
	t.Helper()
	mesh, err := dtensor.NewMesh(n, dtensor.Axis{Name: Axis, Size: n})
	if err != nil {
		t.Fatal(err)
	}
	nn.AssignNames(m)
	ty := dtype.BFloat16
	if len(shape) == 2 {
		ty = dtype.Int32
	}
	return p.Check(m, mesh, tensor.Spec{Type: ty, Shape: shape})
}

// TestACheckPassesWhatComputes: every example, but those whose output a loss cannot take.
func TestACheckPassesWhatComputes(t *testing.T) {
	for name, e := range examples() {
		if e.in != whole { // what comes in is whole here
			continue
		}
		for _, n := range e.ranks {
			err := checked(t, e.plan, e.build(), n, e.x...)
			if e.out == rows || strings.HasPrefix(name, "a prepared output") && e.out == part {
				if err == nil || !strings.Contains(err.Error(), "of which no loss is taken") {
					t.Errorf("%s: %v", name, err)
				}
			} else if err != nil {
				t.Errorf("%s on %d ranks: %v", name, n, err)
			}
		}
	}
}

// TestWhatACheckRefuses before any rank starts.
func TestWhatACheckRefuses(t *testing.T) {
	heads := func() nn.Module { return named(attention(4, 2)) }
	two := func() nn.Module { return sequential(linear(6, 8), linear(8, 6)) }
	norm := func() nn.Module { return nn.NewRMSNorm(6, 1e-5) }
	embedding := func() nn.Module { return nn.NewEmbedding(9, 6, nn.Normal(1)) }
	byHeads := Plan{{"m", PrepareModuleInput(whole, whole)}, {"m.w[qkv]", ColwiseParallel()}, {"m.wo", RowwiseParallel()}}
	byBoth := Plan{{"m0", RowwiseParallel(InputLayouts(whole), OutputLayouts(rows))}, {"m1", PrepareModuleInput(rows, whole)}, {"m1.w[qkv]", ColwiseParallel()}, {"m1.wo", RowwiseParallel(OutputLayouts(rows))}}
	four := func() nn.Module { return sequential(linear(6, 6), attention(4, 4)) }
	tied := func() nn.Module {
		e, l := nn.NewEmbedding(8, 6, nn.Normal(1)), nn.NewLinear(6, 8, nn.LinearOptions{})
		l.Weight = e.Weight
		return sequential(e, l)
	}
	for _, tt := range []struct {
		name  string
		plan  Plan
		build func() nn.Module
		ranks int
		x     []int
		want  string
	}{
		{"heads", byHeads, heads, 4, []int{2, 3, 6}, "tp: m has 4 heads of queries and 2 of keys, which do not divide among 4 ranks: use a degree of [1 2]"},
		{"tokens", Plan{{"m0", RowwiseParallel(InputLayouts(whole), OutputLayouts(rows))}}, func() nn.Module { return sequential(embedding(), norm()) }, 4, []int{2, 3},
			"tp: 6 tokens [2 3] do not divide among 4 ranks, each of which has rows of them: use a degree of [1 2 3 6]"},
		{"tokens, of which heads refuse other degrees", byBoth, four, 4, []int{2, 3, 6},
			"tp: 6 tokens [2 3] do not divide among 4 ranks, each of which has rows of them: use a degree of [1 2], or another batch or length"},
		{"heads, of which tokens refuse other degrees", byBoth, four, 3, []int{3, 3, 6},
			"tp: m1 has 4 heads of queries and 4 of keys, which do not divide among 3 ranks: use a degree of [1]"},
		{"a rule for nothing", Plan{{"m.wk", ColwiseParallel()}, {"m.w4", RowwiseParallel()}}, heads, 2, []int{2, 3, 6}, `tp: rule "m.w4" (RowwiseParallel, Shard(-1) to Replicate) matches no module; near it are ["m.wq" "m.wk" "m.wv" "m.wo"]`},
		{"two rules", Plan{{"m0", ColwiseParallel()}, {"m*", RowwiseParallel()}}, two, 2, []int{2, 3, 6}, `tp: two rules for m0: "m0" (ColwiseParallel, Replicate to Shard(-1)) and "m*" (RowwiseParallel, Shard(-1) to Replicate); leave one`},
		{"a weight cut twice", Plan{{"m0", ColwiseParallel(OutputLayouts(whole))}, {"m1", ColwiseParallel()}}, tied, 2, []int{2, 3}, "tp: m0.weight is cut twice, as Shard(1) and as Shard(0)"},
		{"layouts of a style", Plan{{"m0", ColwiseParallel(InputLayouts(part))}}, two, 2, []int{2, 3, 6},
			`tp: rule "m0" for m0: ColwiseParallel takes [Replicate to Shard(-1) Replicate to Replicate Shard(0) to Shard(-1) Shard(0) to Replicate], not Shard(-1) to Shard(-1)`},
		{"a style's module", Plan{{"m", ColwiseParallel()}}, func() nn.Module { return named(norm()) }, 2, []int{2, 3, 6}, `tp: rule "m" for m: ColwiseParallel is for a Linear or an Embedding, not *nn.RMSNorm`},
		{"columns into a whole layer", Plan{{"m0", ColwiseParallel()}}, two, 2, []int{2, 3, 6}, "tp: m1: linear layer of input Shard(-1), weight Replicate: each rank has some columns of the input: use RowwiseParallel"},
		{"columns into columns", Plan{{"m?", ColwiseParallel()}}, two, 2, []int{2, 3, 6}, "tp: m1: the style is for an input Replicate, which is Shard(-1)"},
		{"the whole into rows", Plan{{"m0", RowwiseParallel()}}, two, 2, []int{2, 3, 6}, "tp: m0: linear layer of input Replicate, weight Shard(-1): all ranks have the whole input: use RowwiseParallel with InputLayouts of Replicate"},
		{"rows into a whole layer", Plan{{"m0", RowwiseParallel(InputLayouts(whole), OutputLayouts(rows))}}, two, 2, []int{2, 3, 6}, "tp: m1: linear layer of input Shard(0), weight Replicate: each rank has some rows of the input: use ColwiseParallel with InputLayouts of Shard(0)"},
		{"a norm of rows", Plan{{"m0", RowwiseParallel(InputLayouts(whole), OutputLayouts(rows))}}, func() nn.Module { return sequential(linear(6, 6), norm()) }, 2, []int{2, 3, 6},
			"tp: m1: norm of input Shard(0), weight Replicate: each rank has some rows, and so a term of the weight's gradient: use SequenceParallel"},
		{"a norm of columns", Plan{{"m0", ColwiseParallel()}}, func() nn.Module { return sequential(linear(6, 6), norm()) }, 2, []int{2, 3, 6}, "tp: m1: norm of input Shard(-1), weight Replicate: a norm needs all columns"},
		{"what is prepared for others", Plan{{"m", PrepareModuleInput(whole, whole)}}, func() nn.Module { return named(sequential(norm(), linear(6, 6))) }, 2, []int{2, 3, 6},
			"tp: m.m0: norm of input Replicate, prepared for column-parallel layers, weight Replicate: the input's gradients will be added up"},
		{"a layer among prepared ones", Plan{{"m", PrepareModuleInput(whole, whole)}, {"m.w1", ColwiseParallel(OutputLayouts(whole))}}, func() nn.Module {
			return named(&nn.FeedForward{W1: linear(6, 8), W2: linear(8, 6), W3: linear(6, 8)})
		}, 2, []int{2, 3, 6}, "tp: m.w3: linear layer of input Replicate, prepared for column-parallel layers, weight Replicate: the input's gradients will be added up, and here all ranks have the same"},
		{"unequal factors", Plan{{"m.w1", ColwiseParallel()}, {"m.w3", ColwiseParallel(OutputLayouts(whole))}}, func() nn.Module {
			return named(&nn.FeedForward{W1: linear(6, 8), W2: linear(8, 6), W3: linear(6, 8)})
		}, 2, []int{2, 3, 6}, "tp: m: function of each element of input Shard(-1), input Replicate: all must lie alike"},
		{"attention to rows", Plan{{"m0", RowwiseParallel(InputLayouts(whole), OutputLayouts(rows))}, {"m1.w[qkv]", SequenceParallel()}},
			func() nn.Module { return sequential(linear(6, 6), attention(4, 2)) }, 2, []int{2, 3, 6}, "tp: m1: nn: attention to a value [3 6]; want [B,S,D], all tokens of each sequence"},
		{"an output of rows", Plan{{"m", PrepareModuleOutput(whole, rows)}}, func() nn.Module { return named(nn.NewGELU()) }, 2, []int{2, 3, 6}, "tp: the model's output is Shard(0), of which no loss is taken"},
	} {
		if err := checked(t, tt.plan, tt.build(), tt.ranks, tt.x...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

// TestATermIsMadeWholeFirst: what is no sum takes no term of one, and says which operation it is, how its inputs lie and what would do.
func TestATermIsMadeWholeFirst(t *testing.T) {
	of := func(at ...dtensor.Placement) (in []Value) {
		for _, p := range at {
			in = append(in, Value{At: p})
		}
		return in
	}
	for _, tt := range []struct {
		o    operation
		in   []Value
		want string
	}{
		{opAdd, of(term, replicate), "sum of input Partial(sum), other Replicate: "},
		{opBias, of(term, replicate), "bias of output Partial(sum), bias Replicate: it would be added once for each rank: add it to the sum"},
		{opCast, of(term), "cast of input Partial(sum): "},
		{opEach, of(term), "function of each element of input Partial(sum): "},
		{opNorm, of(term, replicate), "norm of input Partial(sum), weight Replicate: "},
		{opLinear, of(term, replicate), "linear layer of input Partial(sum), weight Replicate: "},
		{opAttention, of(term, term, term), "attention of queries Partial(sum), keys Partial(sum), values Partial(sum): "},
		{opLoss, of(term), "cross-entropy of logits Partial(sum): it needs the whole of each row: OutputLayouts of Replicate of the last layer"},
		{opSliceLoss, of(term), "cross-entropy of a sliced vocabulary of logits Partial(sum): it needs a slice of each row: OutputLayouts of Shard(-1) of the last layer"},
	} {
		want := tt.want
		if strings.HasSuffix(want, ": ") {
			want += errTerm.Error()
		}
		if _, err := tt.o.apply(tt.in...); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
