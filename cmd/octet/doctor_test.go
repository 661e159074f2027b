// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"octet/test/ranks"
)

func TestDoctorSaysWhatIsNotThereAndWhatWasTried(t *testing.T) {
	for _, name := range []string{"OCTET_CUDA_LIB", "OCTET_CUBLASLT_LIB", "OCTET_NCCL_LIB"} {
		t.Setenv(name, "/none/"+name)
	}
	code, out, said := run(t, "doctor")
	want := `libcuda.so.1         not found
    tried /none/OCTET_CUDA_LIB: cannot open shared object file: No such file or directory
    no NVIDIA driver on this machine; use "cpu", or set OCTET_CUDA_LIB
libcublasLt.so.13    not found
    tried /none/OCTET_CUBLASLT_LIB: cannot open shared object file: No such file or directory
    install the wheel nvidia-cublas, or set OCTET_CUBLASLT_LIB
libnccl.so.2         not found
    tried /none/OCTET_NCCL_LIB: cannot open shared object file: No such file or directory
    install the wheel nvidia-nccl-cu13, or set OCTET_NCCL_LIB
`
	if code != 0 || said != "" {
		t.Errorf("exit code %d: %s", code, said)
	}
	if !strings.HasPrefix(out, want) && !strings.Contains(out, "built without cgo") {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
}

func TestDoctorShowsGPUs(t *testing.T) {
	ranks.Simulated(t)
	t.Setenv("SIM_DEVICES", "2")
	t.Setenv("SIM_CC", "89")
	code, out, said := run(t, "doctor")
	for _, want := range []string{
		"libcuda.so.1         13.0 at ", "\n    cuStreamWriteValue32_v2\n",
		"\nGPU 0                simulated GPU, 0000:01:00.0, compute capability 8.9, 4.0 GiB, 4 processors\nGPU 1 ",
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, %s: no %q in\n%s", code, said, want, out)
		}
	}
}

// TestGPUsThatCannotTrainAreRefused: before any rank starts.
func TestGPUsThatCannotTrainAreRefused(t *testing.T) {
	ranks.Simulated(t)
	const float8 = "--model.converters=quantize.linear.float8"
	for _, tt := range []struct {
		name, environ, value string
		args                 []string
		want                 string
	}{
		{"no driver", "OCTET_CUDA_LIB", "/none/libcuda.so.1", nil,
			`octet: device.name = "cuda": cannot open libcuda.so.1 (tried: /none/libcuda.so.1: cannot open shared object file: No such file or directory): no NVIDIA driver on this machine; use "cpu", or set OCTET_CUDA_LIB`},
		{"fewer GPUs than ranks", "SIM_DEVICES", "1", nil,
			`octet: device.name = "cuda": rank 1 wants GPU 1, this host shows 1; use --nproc-per-node 1, or check CUDA_VISIBLE_DEVICES (now "")`},
		{"an old GPU", "SIM_CC", "75", nil, `octet: device.name = "cuda": no kernel image for compute capability 7.5; octet supports 8.0 and newer`},
		{"float8", "SIM_CC", "80", []string{float8},
			"octet: quantize.linear.float8 needs compute capability 8.9; this GPU is 8.0: remove it from model.converters, or set quantize.linear.float8.emulate = true (slow, for tests)"},
		{"memory", "SIM_MEMORY", "1000000", nil, "0.0 GiB of memory are free on this host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CUDA_VISIBLE_DEVICES", "")
			t.Setenv(tt.environ, tt.value)
			args := append([]string{"run", "--nproc-per-node", "2", "train", "--device.name=cuda", "--training.steps=1", "--job.dump_folder=" + t.TempDir()}, tt.args...)
			code, _, said := run(t, args...)
			if code != 1 || !strings.Contains(said, tt.want) || strings.Contains(said, "rank 0") {
				t.Errorf("exit code %d: %s\nwant %s", code, said, tt.want)
			}
		})
	}
}

func TestOneSimulatedGPUTrains(t *testing.T) {
	ranks.Simulated(t)
	args := strings.Fields(`train --device.name=cuda --training.steps=2 --model.args.dim=32 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2
		--model.args.ffn_hidden_dim=64 --model.args.vocab_size=256 --training.seq_len=16 --training.local_batch_size=1`)
	code, out, said := run(t, append(args, "--job.dump_folder="+t.TempDir())...)
	if code != 0 || !strings.Contains(out+said, "cuda:0 (simulated GPU") || !strings.Contains(out+said, "results: ") {
		t.Errorf("exit code %d\n%s\n%s", code, out, said)
	}
}
