// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// The operators of bugs in code for GPUs.
const (
	wrongStream = "wrong stream"
	freedEarly  = "freed early"
	missingWait = "missing wait"
	wrongLD     = "wrong leading dimension"
	swapped     = "swapped scale"
	missingCall = "missing group call"
)

func gpuOperators() []string {
	return []string{wrongStream, freedEarly, missingWait, wrongLD, swapped, missingCall}
}

// rule makes a bug of each place in files that a pattern matches: it becomes to.
type rule struct {
	operator    string
	files       string // patterns, separated by spaces
	pattern, to string
}

const sharded = "fsdp/fsdp.go fsdp/unit.go"

func rules() []rule {
	const (
		casts   = "device/cuda/kernel_cast.go device/cuda/matmul.go device/cuda/kernel_matmul.go"
		modules = "nn/*.go fp8/*.go fsdp/*.go tp/*.go optim/*.go"
		steps   = "fsdp/*.go parallel/*.go fp8/*.go tp/*.go optim/*.go"
		kernels = "device/cuda/kernel_*.go"
	)
	return []rule{
		// What is compared with nil, or asked for its size, is as good as the other.
		{wrongStream, sharded, `\bf\.ag\b( [^=]|[^ ])`, "f.rs$1"},
		{wrongStream, sharded, `\bf\.rs\b`, "f.ag"},
		{wrongStream, sharded, `\bc\.Stream\b`, "f.ag"},
		{wrongStream, sharded, `\bc\.Stream\b`, "u.fsdp.rs"},
		{wrongStream, "tp/overlap.go", `\bo\.stream\b`, "c.Stream"},
		{wrongStream, "tp/overlap.go", `\bc\.Stream\b`, "o.stream"},
		{wrongStream, "device/cuda/stream.go device/cuda/launch.go device/cuda/native.go device/cuda/matmul.go", `\bs\.handle\b`, "0"},
		{wrongStream, "nccl/handle.go", `C\.uintptr_t\(queue\)`, "C.uintptr_t(0)"},
		{freedEarly, modules, `(?m)^(\t+)(\w+)( :?= )([\w.]*[pP]ool)\.New\(([^\n]*)\)$`, "$1$2$3$4.New($5)\n$1$4.Free($2)"},
		{freedEarly, modules, `(?m)^(\t+[^\n{}]*(?:Scales|Cast|Add|Copy|RMSNormGrad|LayerNormGrad|Attention|AttentionGrad|f)\([^\n{}]*\)\n)(\t+[\w.]+\.Free\([^\n]*\)\n)`, "$2$1"},
		{freedEarly, modules, `(?m)^(\t+)defer ([\w.]+\.Free\()`, "$1$2"},
		{missingWait, steps, `(?m)^\t+[\w.]+\.Wait\([^)\n][^\n]*\)$`, "{}"},
		{missingWait, "device/cuda/stream.go", `(?m)^\ts\.check\(s\.dev\.cuda\.StreamWaitEvent[^\n]*$`, "_ = e.handle"},
		{missingWait, "device/cuda/ring.go", `_ = slot\.left\.Sync\(\)`, "{}"},
		{missingWait, "device/cuda/event.go", `d\.cuda\.EventSynchronize\(e\.handle\)`, "api.Result(api.CUDA_SUCCESS)"},
		{missingWait, "device/cuda/stream.go", `s\.dev\.cuda\.StreamSynchronize\(s\.handle\); r`, "api.Result(api.CUDA_SUCCESS); r"},
		{wrongLD, kernels, `\.u64\((\w+)\)\.u64\((\w+)\)`, ".u64($2).u64($1)"},
		{wrongLD, "device/cuda/gemm/describe.go", `int64\(s\.LD\)`, "int64(lanes)"},
		{wrongLD, "device/cuda/gemm/describe.go", `int64\(s\.LD\)`, "int64(k)"},
		{wrongLD, "device/cuda/gemm/describe.go", `int64\(p\.N\)`, "int64(p.M)"},
		{wrongLD, "device/cuda/gemm/describe.go", `uint64\((k|lanes)\), uint64\((k|lanes)\)`, "uint64($2), uint64($1)"},
		{wrongLD, "device/cuda/matmul.go", `\bl\.LD\b`, "l.Lanes"},
		{wrongLD, "device/cuda/matmul.go", `\bl\.LD\b`, "l.K"},
		// Tensors have no strides, so that LD is K or Lanes, and the other of them wrong.
		{wrongLD, "device/cuda/kernel_matmul.go", `u64\(x\.LD\)\.u64\(1\)`, "u64(x.Lanes).u64(1)"},
		{wrongLD, "device/cuda/kernel_matmul.go", `u64\(1\)\.u64\(x\.LD\)`, "u64(1).u64(x.K)"},
		{swapped, casts, `\.Inv\b( [^=]|[^. ])`, ".Scale$1"},
		{swapped, casts, `\.Scale\b( [^=]|[^. ])`, ".Inv$1"},
		{swapped, casts, `\bx\.Inv\b`, "y.Inv"},
		{swapped, casts, `\by\.Inv\b`, "x.Inv"},
		{swapped, "device/cuda/gemm/glue.c", `first_inverse`, "second_inverse"},
		{swapped, "device/cuda/gemm/glue.c", `second_inverse`, "first_inverse"},
		{missingCall, "nccl/glue.c", `t->ncclGroupStart\(\)`, "ncclSuccess"},
		{missingCall, "nccl/glue.c", `t->ncclGroupEnd\(\)`, "ncclSuccess"},
		{missingCall, steps + " comm/wire.go", `(?m)^\t+[\w.]+\.(AllGather|AllReduce|ReduceScatter|Reduce|Broadcast)\([^\n]*\)$`, "{}"},
		{missingCall, "nccl/comm.go", `native\.Native\("comm", c\.issue\)`, "{}"},
	}
}

// watchers are the tests that a bug of a file is shown to, the quickest first.
func watchers(file string) []shown {
	inFlight := shown{folder: "test/multigpu", run: "StepsInFlight"}
	recipes := shown{folder: "test/multigpu", run: "TestSimulatedGPUsTrainAsTheCPU|TwoSimulatedGPUs"}
	beside := shown{folder: "test/multigpu", run: "AsyncTensorInFlight"}
	layouts := shown{folder: "test/multigpu", run: "TestTPSP|TestHSDP$"} // on the CPU
	folder := filepath.ToSlash(filepath.Dir(file))
	switch {
	case folder == "nccl":
		return []shown{{folder: "nccl", run: "Calls|InProgress|Hang|Lost|User"}, {folder: "nccl"}, inFlight}
	case folder == "device/cuda/gemm":
		return []shown{{folder: folder}, {folder: "device/cuda", run: "Products|CublasLt"}}
	case strings.HasSuffix(file, "cuda/matmul.go"):
		return []shown{{folder: folder, run: "Products|CublasLt"}, inFlight, {folder: folder}, recipes}
	case folder == "fsdp": // its own, on the CPU, take minutes
		return []shown{inFlight, recipes, {folder: folder, run: "CollectivesPerStep|Frozen|Unused|Reduction|Order|Sends"}, layouts}
	case folder == "tp":
		return []shown{beside, {folder: folder}, layouts, {folder: "models/llama/plan", run: "TestEveryLayoutTrainsAlike"}}
	case file == "nn/cache.go":
		return []shown{{folder: "test/multigpu", run: "Generates"}, {folder: folder}}
	case folder == "fp8":
		scales := shown{folder: "models/llama/plan", run: "TestWeightsAndTheirScalesAreThoseOfOneRank"}
		return []shown{inFlight, recipes, {folder: folder}, scales, layouts}
	case strings.HasPrefix(file, "device/cuda/kernel_"):
		return []shown{{folder: folder, run: "TestEmulatedKernelsConform$"}, {folder: folder}, inFlight, recipes}
	case folder == "device/cuda":
		return []shown{{folder: folder, run: "Host|Download|Missing|Fault|Dead|Error|EndApart"}, inFlight, {folder: folder}, recipes}
	}
	return []shown{inFlight, recipes, {folder: folder}, layouts}
}

// ruledBugs are all that rules make, by their operators.
func ruledBugs(rules []rule, watchers func(file string) []shown) (map[string][]planned, error) {
	byOperator := map[string][]planned{}
	for _, r := range rules {
		pattern := regexp.MustCompile(r.pattern)
		for _, files := range strings.Fields(r.files) {
			names, err := filepath.Glob(files)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if strings.HasSuffix(name, "_test.go") {
					continue
				}
				bugs, err := r.bugs(name, pattern, watchers)
				if err != nil {
					return nil, err
				}
				byOperator[r.operator] = append(byOperator[r.operator], bugs...)
			}
		}
	}
	return byOperator, nil
}

// bugs are those of a file. Comments have none.
func (r rule) bugs(name string, pattern *regexp.Regexp, watchers func(file string) []shown) (list []planned, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	for _, at := range pattern.FindAllSubmatchIndex(text, -1) {
		start := strings.LastIndexByte(string(text[:at[0]]), '\n') + 1
		if strings.HasPrefix(strings.TrimSpace(string(text[start:at[1]])), "//") {
			continue
		}
		to := pattern.Expand(nil, []byte(r.to), text, at)
		changed := append(append(append([]byte{}, text[:at[0]]...), to...), text[at[1]:]...)
		where := fmt.Sprintf("%s:%d:%d", name, 1+strings.Count(string(text[:at[0]]), "\n"), 1+at[0]-start)
		list = append(list, planned{bug{r.operator, path, changed, where, oneLine(text[at[0]:at[1]]), oneLine(to)}, watchers(name)})
	}
	return list, nil
}

func oneLine(text []byte) string { return strings.Join(strings.Fields(string(text)), " ") }
