// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/csv"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"octet/config"
	"octet/device"
	"octet/device/trace"
	"octet/dtype"
	"octet/metrics"
	"octet/models/llama/plan"
)

// tinyStep is a configuration that trains in milliseconds.
func tinyStep(more ...string) []string {
	return append([]string{"--model.args.dim=32", "--model.args.n_layers=2", "--model.args.n_heads=2", "--model.args.n_kv_heads=2", "--model.args.ffn_hidden_dim=64",
		"--training.dataset=text", "--training.dataset_path=.", "--training.seq_len=32", "--training.local_batch_size=2", "--training.steps=20"}, more...)
}

func float8Keys() []string {
	return []string{"--model.converters=" + config.Float8Converter, "--quantize.linear.float8.filter_fqns=output", "--quantize.linear.float8.enable_fsdp_float8_all_gather"}
}

// TestEveryKernelHasAGroup of the table.
func TestEveryKernelHasAGroup(t *testing.T) {
	kernels := reflect.TypeFor[device.Kernels]()
	for i := range kernels.NumMethod() {
		if name := kernels.Method(i).Name; name != "Float8TN" && groups[name] == "" {
			t.Errorf("device.Kernels.%s has no group", name)
		}
	}
}

// TestAStepIsTheSumOfItsLines, whose products are those of a Llama: of each weight and token
// three, of two operations each.
func TestAStepIsTheSumOfItsLines(t *testing.T) {
	for name, keys := range map[string][]string{"bf16": nil, "float8": float8Keys()} {
		var text, file bytes.Buffer
		p, err := Step(t.Context(), Output{Text: &text, CSV: &file}, StepOptions{Ranks: 2, Warmup: 1, Steps: 3, Keys: tinyStep(keys...), Log: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		sum, matmul := 0.0, 0.0
		var seen []string
		for _, l := range p.Lines {
			if l.Stream == "compute" {
				sum += l.MS
			}
			if l.Group == "matmul" {
				matmul += l.FLOPs
			}
			if l.Group == "" || l.MS < 0 && l.Group != host || l.LimitMS < 0 {
				t.Errorf("%s: line %+v", name, l)
			}
			seen = append(seen, l.Group)
		}
		near(t, name+": the sum of the lines of the compute stream", sum, p.WallMS)
		cfg, err := config.Load(tinyStep(keys...))
		if err != nil {
			t.Fatal(err)
		}
		run, err := plan.Resolve(cfg, 2)
		if err != nil {
			t.Fatal(err)
		}
		a := run.Args
		near(t, name+": operations of products", matmul, 6*2*32*float64(a.Params()-a.Embedding()-(2*a.Layers+1)*a.Dim))
		want := []string{"matmul", "attention", "activation", "norm", "rope", "embedding", "loss", "optimizer", "elementwise", waits, "transfer", host, beside + "all-gather", beside + "reduce-scatter"}
		if name == "float8" {
			want = append(want, "cast")
		}
		slices.Sort(want)
		slices.Sort(seen)
		if diff := cmp.Diff(want, slices.Compact(seen)); diff != "" {
			t.Errorf("%s: groups (-want +got):\n%s", name, diff)
		}
		if p.PlainMS <= 0 || p.TokensPerS <= 0 || p.FLOPS <= 0 || p.PeakFLOPS < p.FLOPS || p.RooflineMS <= 0 || p.RooflineMS > p.WallMS {
			t.Errorf("%s: %+v", name, p)
		}
		near(t, name+": operations a second", p.FLOPS, p.TokensPerS*metrics.FLOPsPerToken(metrics.ModelSize{
			Params: a.Params(), EmbeddingParams: a.Embedding(), Layers: 2, Heads: 2, HeadDim: 16, SeqLen: 32,
		}))
		rows, err := csv.NewReader(&file).ReadAll()
		if err != nil || len(rows) <= len(p.Lines) || strings.Count(text.String(), "\n") != len(rows)+3 {
			t.Errorf("%s: %d rows for %d lines (%v), and in the text\n%s", name, len(rows), len(p.Lines), err, &text)
		}
		if bars := p.Bars("a").Bars; len(bars) != len(p.Groups()) || bars[0].Length < bars[1].Length {
			t.Errorf("%s: bars %+v", name, bars)
		}
	}
}

// TestAProfileIsOfTheFasterHalf of the steps, and the mean of the ranks.
func TestAProfileIsOfTheFasterHalf(t *testing.T) {
	l := limits{peaks: map[dtype.Type]float64{dtype.BFloat16: 1e9}, copies: []copyRate{{1 << 10, 4e9}, {1 << 20, 1e9}}}
	at := func(begin, end int) trace.Span {
		return trace.Span{Stream: "compute", Begin: time.Duration(begin) * time.Millisecond, End: time.Duration(end) * time.Millisecond, Timed: true}
	}
	step := func(wall float64, scale int) timedStep {
		product, add, wait, gather, idle := at(0, 4*scale), at(4*scale, 5*scale), at(5*scale, 6*scale), at(0, 3), at(3, 9)
		product.Name, product.Of, product.FLOPs, product.Unit, product.Bytes = "MatMul", "NT", 2e6, dtype.BFloat16, 1<<20
		product.Args = []trace.Arg{{Type: dtype.Float32, Shape: []int{2, 3, 4}}, {Type: dtype.Float8E4M3, Shape: []int{2, 3, 8}}, {Type: dtype.Float8E5M2, Shape: []int{4, 8}}}
		add.Name, add.Bytes = "Add", 1<<20
		wait.Kind, wait.Name, wait.Of = trace.Wait, "wait", "all-gather"
		gather.Kind, gather.Name, gather.Stream = trace.Collective, "all-gather", "all-gather"
		idle.Kind, idle.Name, idle.Of, idle.Stream = trace.Wait, "wait", "compute", "all-gather"
		return timedStep{metrics.Record{StepMS: wall, Tokens: 100}, []*trace.Span{&product, &add, &wait, &gather, &idle}}
	}
	plain := []metrics.Record{{StepMS: 8, Tokens: 100}, {StepMS: 10, Tokens: 100}, {StepMS: 20, Tokens: 100}}
	p := profile([]rankSteps{
		{"", l, []timedStep{step(30, 5), step(10, 1), step(11, 1)}, plain},
		{"", l, []timedStep{step(30, 5), step(12, 2), step(13, 2)}, plain},
	})
	want := []Line{
		{"compute", "matmul", "output 6x8x4 e4m3·e5m2", 1, 6, 2e6, 1 << 20, 2},
		{"compute", host, "nothing enqueued", 1, 11.5 - 9, 0, 0, 0},
		{"compute", "elementwise", "Add", 1, 1.5, 0, 1 << 20, 1 << 20 / 1e6},
		{"compute", waits, "for all-gather", 1, 1.5, 0, 0, 0},
		{"all-gather", beside + "all-gather", "all-gather", 1, 3, 0, 0, 0},
	}
	about := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(a) })
	if diff := cmp.Diff(want, p.Lines, about); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Profile{Lines: want, WallMS: 11.5, RooflineMS: 2 + 1<<20/1e6, PlainMS: 10, Overhead: 0.1, TokensPerS: 5000}, p, about); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	small := trace.Span{Bytes: 1 << 10}
	near(t, "a small copy", l.seconds(&small), (1<<10)/4e9)
	large := trace.Span{Bytes: 1 << 21}
	near(t, "a copy larger than any", l.seconds(&large), (1<<21)/1e9)
}

// TestWhatCannotBeMeasuredIsRefused before a rank starts.
func TestWhatCannotBeMeasuredIsRefused(t *testing.T) {
	for want, keys := range map[string][]string{
		"training.steps = 20: 1 steps to warm up and twice 10 to measure want 21 at least": nil,
		"checkpoint.enable = true": {"--checkpoint.enable", "--training.steps=21"},
		"model.args.dims":          {"--model.args.dims=3"},
		"there is no device":       {"--training.steps=21", "--device.name=abacus"},
	} {
		_, err := Step(t.Context(), Output{Text: io.Discard}, StepOptions{Ranks: 1, Warmup: 1, Steps: 10, Keys: tinyStep(keys...), Log: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", keys, err, want)
		}
	}
}
