// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// check is something that is proven, or measured, by a program.
type check struct {
	name, about string
	limit       time.Duration
	needs       []need
	command     func(h *host) command
	judge       func(h *host, out output) (Verdict, string, []Measure)
}

// need is what a host may have not, without which a check is skipped.
type need string

const (
	gpu       need = "a GPU"
	torch     need = "PyTorch with CUDA for python3"
	torchao   need = "torchao beside it"
	sanitizer need = "compute-sanitizer"
)

// inventory is the check that finds out what is here.
const inventory = "inventory"

// command is a program of the bundle or of the host, its working folder in the bundle, and variables
// beside the process's own.
type command struct {
	args    []string
	dir     string
	environ []string
}

// The variables of octet's tests, as test/ranks and others declare them.
var (
	onGPU  = []string{"OCTET_TEST_DEVICE=cuda"}
	oneGPU = []string{"OCTET_TEST_DEVICE=cuda", "OCTET_TEST_ONE_GPU=1"}
)

// sharing has ranks share the GPU over the bundle's own libnccl. A queue of the hardware must not have two streams of
// which one waits for the other.
func (h *host) sharing() []string {
	return append([]string{"OCTET_NCCL_LIB=" + filepath.Join(h.bundle, "lib", simulatedNCCL), "CUDA_DEVICE_MAX_CONNECTIONS=32",
		"OCTET_TEST_BINARY=" + h.program("octet")}, oneGPU...)
}

// test is a check that runs tests of a package.
func test(name, about string, limit time.Duration, folder, run string, environ func(h *host) []string) check {
	return check{name, about, limit, []need{gpu}, func(h *host) command {
		return h.test(folder, environ(h), "-test.v", "-test.run", run)
	}, judgeTests}
}

// bench is a check that runs benchmarks of device/cuda.
func bench(name, about string, limit time.Duration, pattern, times string) check {
	return check{name, about, limit, []need{gpu}, func(h *host) command {
		if h.short {
			times = "1x"
		}
		return h.test("device/cuda", onGPU, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", times)
	}, judgeBenchmarks}
}

// sanitize is a check that runs quick kernels under a tool of compute-sanitizer.
func sanitize(tool string) check {
	return check{"sanitizer " + tool, "compute-sanitizer finds nothing in casts, norms, losses and attention", 45 * time.Second, []need{gpu, sanitizer}, func(h *host) command {
		c := h.test("device/cuda", onGPU, "-test.v", "-test.run", "TestHardwareConforms$/^("+sanitized+")")
		c.args = append([]string{"compute-sanitizer", "--tool", tool, "--error-exitcode", "9"}, c.args...)
		return c
	}, judgeSanitizer}
}

// sanitized are the beginnings of the names of device/devicetest's cases that run there.
const sanitized = "cast|amax|norm|swiglu|cross|adamw|attention"

// checks are all, in the order in which their answers count: what the budget does not reach is the last.
func checks() []check {
	cuda, shared := func(*host) []string { return onGPU }, (*host).sharing
	const second = time.Second
	all := []check{
		{inventory, "the driver, its libraries and GPUs, Python's PyTorch", 60 * second, nil, inventoryCommand, judgeInventory},
		test("kernels", "every kernel beside its definition in float64, products through cuBLASLt", 75*second, "device/cuda", "^TestHardwareConforms$", cuda),
		test("streams", "what waits for an event sees what is before it, and what does not wait does not", 20*second, "device/cuda", "^TestHardwareRunsStreamsApart$", cuda),
		test("graphs", "what is captured and launched again has the bits of the work itself", 20*second, "device/cuda", "^TestHardwareGraphsDoAsTheirWork$", cuda),
		test("nccl", "collectives of one rank over the real NCCL", 30*second, "nccl", "^TestHardwareConforms$", cuda),
		test("training", "20 steps of every recipe on one rank and two, beside the CPU's losses; the two share the GPU over the bundle's libnccl", 75*second,
			"test/multigpu", "^TestHardwareTrainsAsTheCPU$", shared),
		test("collectives", "of two and three ranks that share the GPU over the bundle's libnccl", 60*second, "nccl", "^TestHardwareConforms$", shared),
		test("graph steps", "20 steps of every recipe whose passes are launched as one graph, beside the same steps without, bit for bit", 60*second, "test/multigpu", "^TestHardwareStepsAsGraphs$", cuda),
		bench("speed", "each kernel's share of the speed of a copy", 75*second, "^BenchmarkWork$|^BenchmarkLaunch$", "30x"),
		bench("products", "matrix products of a linear layer, attention and its gradient", 50*second, "^BenchmarkMatMul$|^BenchmarkAttention$", "20x"),
		{"torch products", "the same by torch.mm, torch._scaled_mm and torch's attention", 60 * second, []need{gpu, torch}, peer("products"), judgePeer},
		step("step bf16", "--training.mixed_precision_param=bfloat16"),
		step("step float8", "--training.mixed_precision_param=bfloat16", "--model.converters=quantize.linear.float8", "--quantize.linear.float8.filter_fqns=output"),
		{"torch step bf16", "the same model in torch, eager", 45 * second, []need{gpu, torch}, peer("step"), judgePeer},
		{"torch step float8", "and in torchao's tensor-wise float8", 45 * second, []need{gpu, torch, torchao}, peer("step", "--float8"), judgePeer},
		{"torch step bf16 compiled", "bf16, each block compiled", 75 * second, []need{gpu, torch}, peer("step", "--compile"), judgePeer},
		{"torch step float8 compiled", "float8, each block compiled", 75 * second, []need{gpu, torch, torchao}, peer("step", "--float8", "--compile"), judgePeer},
		test("faults", "a bad address and the end of memory are told as they are", 30*second, "device/cuda", "^TestHardwareFaultsAreTold$", cuda),
		test("lost peer", "of three ranks that share the GPU, processes, one is killed and one stopped: the others name it", 45*second, "nccl", "^TestHardwareNamesALostRank$", shared),
		test("ptx", "the kernels as the driver compiles them", 75*second, "device/cuda", "^TestHardwareConformsFromPTX$", cuda),
		test("ptx bits", "machine code and PTX come to the same bits", 45*second, "device/cuda", "^TestHardwareHasTheSameBitsFromPTX$", cuda),
		test("own products", "products on octet's own kernel, without cuBLASLt", 40*second, "device/cuda", "^TestHardwareMultipliesWithoutCublasLt$", cuda),
	}
	for _, tool := range []string{"memcheck", "racecheck", "initcheck", "synccheck"} {
		all = append(all, sanitize(tool))
	}
	return append(all,
		test("float8", "linear layers beside torchao's", 60*second, "fp8", ".", shared),
		test("sharding", "FSDP's tests, ranks share the GPU", 60*second, "fsdp", ".", shared),
		test("nccl shares", "two ranks on one GPU over the real NCCL, which 2.30 and newer allow", 40*second, "nccl", "^TestHardwareSharesAGPU$",
			func(*host) []string { return oneGPU }),
	)
}

// The model of the checks of whole steps: peer.py has the same.
var stepModel = []string{"--model.flavor=1B", "--training.seq_len=4096", "--training.local_batch_size=2"}

var shortModel = []string{
	"--model.flavor=debugmodel", "--model.args.dim=32", "--model.args.n_layers=1", "--model.args.n_heads=2", "--model.args.n_kv_heads=2",
	"--model.args.ffn_hidden_dim=64", "--model.args.vocab_size=256", "--training.seq_len=16", "--training.local_batch_size=1",
}

// step is a check that measures steps of training on one rank.
func step(name string, args ...string) check {
	return check{name, "8 steps of Llama 1B, 2 x 4096 tokens", 75 * time.Second, []need{gpu}, func(h *host) command {
		model, steps := stepModel, 8
		if h.short {
			model, steps = shortModel, 4
		}
		folder := filepath.Join(h.scratch, strings.ReplaceAll(name, " ", "-"))
		c := []string{h.program("octet"), "run", "--nproc-per-node", "1", "train", "--device.name=cuda", "--training.dataset=tokens", "--metrics.log_freq=1",
			"--training.dataset_path=" + filepath.Join(h.bundle, "tree", "testdata", "golden", "llama_tokens.u16"), "--job.dump_folder=" + folder, fmt.Sprintf("--training.steps=%d", steps)}
		c = append(append(c, model...), args...)
		return command{args: c, dir: "."}
	}, judgeStep(name)}
}

// peer runs PyTorch.
func peer(args ...string) func(h *host) command {
	return func(h *host) command {
		return command{args: append([]string{"python3", filepath.Join(h.bundle, "tree", "test", "gpucheck", "peer.py")}, args...), dir: "."}
	}
}

// inventoryCommand asks octet, the driver's own tool and Python. Those that are not there say so.
func inventoryCommand(h *host) command {
	return command{args: []string{"bash", "-c", `"$0" version; "$0" doctor
uname -srm; nproc; ldd --version 2>&1 | head -n 1
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader 2>&1 | head -n 8 | sed 's/^/nvidia-smi: /'
if command -v compute-sanitizer >/dev/null; then echo "compute-sanitizer: $(command -v compute-sanitizer)"; fi
timeout 40 python3 -c 'import torch; print("torch:", torch.__version__, "of CUDA", torch.version.cuda, "sees", torch.cuda.device_count() if torch.cuda.is_available() else 0)' 2>&1 | tail -n 1
timeout 20 python3 -c 'import importlib.metadata as m; print("torchao:", m.version("torchao"))' 2>/dev/null
true`, h.program("octet")}, dir: "."}
}
