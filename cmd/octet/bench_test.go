// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/test/ranks"
)

func TestBenchNamesTheMistake(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, `"": want one of matmul, linear, padding, multi, recipes, step, roofline`},
		{[]string{"recipe"}, `"recipe": want one of matmul`},
		{[]string{"matmul", "tensorwise"}, "it takes flags alone"},
		{[]string{"matmul", "--shape_gen_name=gpt"}, `shape_gen_name = "gpt": want one of`},
		{[]string{"matmul", "--shape_gen_name=custom", "--M=64"}, "custom wants all three"},
		{[]string{"matmul", "--threads=0"}, "--threads 0: want 1 to 4096"},
		{[]string{"matmul", "--threads=100000"}, "--threads 100000: want 1 to 4096"},
		{[]string{"matmul", "--time=0s"}, "--time 0s: want more than 0"},
		{[]string{"matmul", "--repeat=0"}, "--repeat 0: want 1 or more"},
		{[]string{"matmul", "--device=tpu"}, `there is no device "tpu" in this build; there is: cpu, cuda`},
		{[]string{"matmul", "--tune"}, "threads) has one kernel for each product and nothing to choose: it is for GPUs (--device cuda)"},
		{[]string{"matmul", "--isa=sse"}, "cpu: sse is no instruction set of this machine; it has portable"},
		{[]string{"matmul", "--recipe=blockwise"}, `there is no recipe "blockwise"`},
		{[]string{"matmul", "--out_filename=/nowhere/x.csv"}, "--out_filename: open /nowhere/x.csv"},
		{[]string{"linear", "--recipe=blockwise"}, `--recipe: fp8: there is no recipe "blockwise"`},
		{[]string{"linear", "--recipe=tensorwise", "--scaling_type_input=dynamic"}, "it chooses all casts"},
		{[]string{"linear", "--scaling_type_input=static"}, `"static"`},
		{[]string{"multi", "--ranks=0"}, "--ranks 0: want 1 or more"},
		{[]string{"multi", "--layers=0"}, "--layers 0: want 1 or more"},
		{[]string{"multi", "--dim=-16"}, "--dim -16: want 1 or more"},
		{[]string{"multi", "--steps=0", "--batch=0"}, "--batch 0: want 1 or more"}, // the first declared, always
		{[]string{"multi", "--recipe=blockwise"}, `there is no recipe "blockwise"`},
		{[]string{"multi", "--recipe=rowwise_with_gw_hp", "--gather"}, "AllGather"},
		{[]string{"multi", "--warmup=-1"}, "--warmup -1: want 0 or more"},
		{[]string{"recipes", "--seeds=0"}, "--seeds 0: want 1 or more"},
		{[]string{"recipes", "--steps=0"}, "--steps 0: want 1 or more"},
		{[]string{"recipes", "--batch=0"}, "--batch 0: want 1 or more"},
		{[]string{"recipes", "--seq_len=0"}, "--seq_len 0: want 1 or more"},
		{[]string{"recipes", "--plot=loss.pdf"}, "--plot loss.pdf: a picture is SVG or PNG"},
		{[]string{"recipes", "--recipe=tensorwise+often", "--steps=1"}, `there is no "often" to add`},
		{[]string{"recipes", "--steps=1", "--", "--model.args.dims=3"}, "model.args.dims"},
		{[]string{"step", "--ranks=0"}, "--ranks 0: want 1 or more"},
		{[]string{"step", "--steps=0"}, "--steps 0: want 1 or more"},
		{[]string{"step", "--warmup=-1"}, "--warmup -1: want 0 or more"},
		{[]string{"step", "--plot=/nowhere/step.svg"}, "--plot /nowhere/step.svg: there is no folder /nowhere"},
		{[]string{"step", "--config=x.toml"}, "unknown flag: --config; keys of octet train, as --config or --training.steps, stand behind --"},
		{[]string{"step", "--plot=step.pdf"}, "--plot step.pdf: a picture is SVG or PNG"},
		{[]string{"step", "--", "--training.steps=3"}, "training.steps = 3: 3 steps to warm up and twice 8 to measure want 19 at least"},
		{[]string{"roofline", "--float8_recipe_name=none"}, `there is no recipe "none"`},
	} {
		err := runBench(t.Context(), tt.args)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("octet bench %q: error %v, want %q", tt.args, err, tt.want)
		}
	}
}

// benched runs a benchmark and returns what it printed and its CSV.
func benched(t *testing.T, args ...string) (text string, rows [][]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.csv")
	var out bytes.Buffer
	i := slices.IndexFunc(benchmarks(), func(b benchmark) bool { return b.name == args[0] })
	if err := benchmarks()[i].run(t.Context(), append([]string{"-o", path}, args[1:]...), &out); err != nil {
		t.Fatalf("octet bench %q: %v", args, err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if rows, err = csv.NewReader(file).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return out.String(), rows[1:]
}

// TestEveryFlagOfABenchmarkActs: what is measured is in the CSV, what is said in the text.
func TestEveryFlagOfABenchmarkActs(t *testing.T) {
	const small = "--shape_gen_name=custom --M=32 --K=16 --N=48 --time=1ms --repeat=1"
	for _, tt := range []struct {
		args string
		rows int
		want string // in the first row, separated by commas, or in the text
	}{
		{"matmul " + small, 6, "true,custom,32,16,48,"},
		{"matmul --shape_gen_name=sweep --shape_name_filter=256x512x --n_limit=1 --time=1ms --repeat=1", 6, "true,256x512x256,256,512,256,"},
		{"matmul --use_gpu_kernel_time " + small, 6, "--use_gpu_kernel_time has no effect: "},
		{"matmul --time=3ms --repeat=7 --shape_gen_name=custom --M=32 --K=16 --N=48", 6, "fastest of up to 7 repetitions within 3ms"},
		{"linear --recipe=tensorwise " + small, 2, "custom,32,16,48,i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2,bfloat16,false,true,"},
		{"linear --recipe=tensorwise --fast_accum_filter=false " + small, 1, ",bfloat16,false,false,"},
		{"linear --recipe=tensorwise --fast_accum_filter=true " + small, 1, ",bfloat16,false,true,"},
		{"linear --recipe=tensorwise --disable_compile " + small, 2, "--disable_compile has no effect: "},
		{"linear --scaling_type_input=dynamic --scaling_granularity=tensorwise " + small, 2, ",custom"},
		{"linear --scaling_type_input=disabled --scaling_type_weight=disabled --scaling_type_grad_output=disabled " + small, 2, "i:dis_ten_e4m3,w:dis_ten_e4m3,go:dis_ten_e5m2"},
		{"padding --shape_name_filter=65x253 --compile --time=1ms --repeat=1", 1, "65x253x4096,bfloat16,"},
		{"roofline " + small, 1, "32,16,48,"},
		{"multi --ranks=2 --layers=2 --dim=32 --batch=16 --warmup=1 --steps=2 --recipe=tensorwise --gather --compile", 1, "2 layers of 32 on 2 ranks, batch 16; median of 2 steps, after 1"},
		{"roofline --do_benchmarks=false --enable_fusion_modeling " + small, 1, ",,,,,,"},
	} {
		text, rows := benched(t, strings.Fields(tt.args)...)
		if len(rows) != tt.rows || !strings.Contains(text+strings.Join(rows[0], ","), tt.want) {
			t.Errorf("octet bench %s: %d rows, want %d, and %q in\n%s\n%v", tt.args, len(rows), tt.rows, tt.want, text, rows)
		}
	}
}

// TestMatMulIsTunedOnAGPU, a simulated one.
func TestMatMulIsTunedOnAGPU(t *testing.T) {
	ranks.Simulated(t)
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	text, rows := benched(t, strings.Fields("matmul --device=cuda --tune --shape_gen_name=custom --M=32 --K=16 --N=48 --time=1ms --repeat=1")...)
	if len(rows) != 10 || !strings.HasPrefix(text, "cuda:0 (simulated GPU, compute capability 9.0); medians of up to 1 turns within 1ms\n") ||
		!strings.HasSuffix(text, "kept in "+filepath.Join(cache, "octet", "gemm-9.0-130000.bin")+"\n") {
		t.Errorf("%d rows, want 10:\n%s", len(rows), text)
	}
}

// TestEveryFlagOfRecipesActs: runs are counted by rows, those of all seeds among them.
func TestEveryFlagOfRecipesActs(t *testing.T) {
	const tiny = " --steps=2 --batch=1 --seq_len=32 -- --model.args.dim=32 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=64 --validation.steps=1" +
		" --training.dataset=text --training.dataset_path=. --validation.dataset=text --validation.dataset_path=../../fp8"
	picture := filepath.Join(t.TempDir(), "loss.svg")
	text, rows := benched(t, strings.Fields("recipes --recipe=tensorwise,rowwise+gather --seeds=1 --worst=1 --plot="+picture+" --title=above"+tiny)...)
	if len(rows) != 6 || rows[1][0] != "tensorwise" || rows[2][0] != "rowwise+gather" || rows[5][1] != "mean" {
		t.Errorf("rows %v, want 3 of seed 0 and 3 means", rows)
	}
	if got := strings.Count(text, "cast 1 from the bottom"); got != 2 || strings.Contains(text, "cast 2 from the bottom") {
		t.Errorf("of each recipe one cast is asked for:\n%s", text)
	}
	svg, err := os.ReadFile(picture)
	if err != nil || !strings.Contains(string(svg), "above") || !strings.Contains(string(svg), "rowwise+gather") {
		t.Errorf("the picture (%v) lacks its title or a run", err)
	}
	_, more := benched(t, strings.Fields("recipes --recipe=tensorwise --seeds=2"+strings.Replace(tiny, "--batch=1", "--batch=2", 1))...)
	if len(more) != 6 || more[2][1] != "1" || more[0][4] == rows[0][4] {
		t.Errorf("rows %v, want 2 of each of two seeds and 2 means, with losses of larger steps", more)
	}
	_, longer := benched(t, strings.Fields("recipes --recipe=tensorwise --seeds=1"+strings.NewReplacer("--steps=2", "--steps=3", "--seq_len=32", "--seq_len=16").Replace(tiny))...)
	if longer[0][4] == rows[0][4] {
		t.Errorf("rows %v, want losses of more steps", longer)
	}
}

// TestEveryFlagOfAStepActs: the picture is of what the table has.
func TestEveryFlagOfAStepActs(t *testing.T) {
	const tiny = " -- --model.args.dim=32 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=64 --training.seq_len=32 --training.local_batch_size=2" +
		" --training.dataset=text --training.dataset_path=. --training.steps=3"
	picture := filepath.Join(t.TempDir(), "step.svg")
	text, rows := benched(t, strings.Fields("step --ranks=1 --warmup=1 --steps=1 --plot="+picture+" --title=above"+tiny)...)
	if len(rows) < 20 || rows[0][2] != "compute" || !strings.Contains(text, "its roofline is") || !strings.Contains(text, "mfu ") {
		t.Errorf("%d rows, the first %q, in\n%s", len(rows), rows[0], text)
	}
	svg, err := os.ReadFile(picture)
	if err != nil || !strings.Contains(string(svg), "above") || !strings.Contains(string(svg), ">attention<") {
		t.Errorf("the picture (%v) lacks its title or a bar", err)
	}
	if more, _ := benched(t, strings.Fields("step --ranks=2 --threads=3 --warmup=0 --steps=1"+tiny)...); !strings.Contains(text, "a step of 1 ranks") || !strings.Contains(more, "a step of 2 ranks") || !strings.Contains(more, "3 threads)") {
		t.Errorf("two ranks of three threads are\n%s", more)
	}
}

// TestTheModelIsToldOfFusion: casts that read for nothing move fewer bytes.
func TestTheModelIsToldOfFusion(t *testing.T) {
	const n = 4096
	for flag, want := range map[string]float64{"--enable_fusion_modeling=false": 15 * n * n, "--enable_fusion_modeling": 11 * n * n} {
		text, rows := benched(t, "roofline", "--do_benchmarks=false", "--shape_gen_name=custom", "--M=4096", "--K=4096", "--N=4096", flag)
		var over, memory float64
		_, speeds, _ := strings.Cut(text, "fast accumulation, ")
		if _, err := fmt.Sscan(rows[0][5]+" "+speeds, &over, &memory); err != nil {
			t.Fatal(err)
		}
		if got := over * memory * 1e9; got < 0.98*want || got > 1.02*want {
			t.Errorf("%s: casts move %.4g bytes, want %.4g", flag, got, want)
		}
	}
}

func TestBenchHelpListsTheBenchmarks(t *testing.T) {
	for _, b := range benchmarks() {
		var out bytes.Buffer
		if err := b.run(t.Context(), []string{"--help"}, &out); err != nil || !strings.HasPrefix(out.String(), "usage: octet bench "+b.name) || !strings.Contains(out.String(), "--out_filename") {
			t.Errorf("octet bench %s --help: %v\n%s", b.name, err, &out)
		}
	}
}
