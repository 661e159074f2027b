// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"octet/metrics"
	"octet/test/ranks"
)

// onGPU is onGPUs of one.
func onGPU(t *testing.T, fault string, args ...string) (code int, said string, losses []float64) {
	t.Helper()
	return onGPUs(t, 1, fault, args...)
}

// onGPUs trains a small model for four steps on simulated GPUs of which one has a fault, and
// returns what it said and the losses of its steps.
func onGPUs(t *testing.T, n int, fault string, args ...string) (code int, said string, losses []float64) {
	t.Helper()
	ranks.Simulated(t)
	t.Setenv("OCTET_CUBLASLT_LIB", "/none/libcublasLt.so.13") // octet's own kernel is quicker to open
	t.Setenv("SIM_FAULT", fault)
	folder := t.TempDir()
	command := strings.Fields(`run --nproc-per-node ` + strconv.Itoa(n) + ` --max-restarts 1 train --device.name=cuda --training.steps=4 --model.args.dim=32 --model.args.n_layers=1
		--model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=64 --model.args.vocab_size=256 --training.seq_len=16
		--training.local_batch_size=1 --metrics.log_freq=1 --job.dump_folder=` + folder)
	code, out, stderr := run(t, append(command, args...)...)
	records, err := metrics.Read(filepath.Join(folder, metrics.FileName))
	if err == nil {
		for _, r := range records {
			losses = append(losses, r.Loss)
		}
	}
	return code, out + stderr, losses
}

func TestAFaultOfAGPUEndsItsRankWithTheCause(t *testing.T) {
	for _, tt := range []struct{ fault, want string }{
		{"Init@0:initfail", "cuInit: CUDA_ERROR_UNKNOWN (999): unknown error"},
		{"MemAlloc#90@0:oom", "train: device: cuda:0 (simulated GPU, compute capability 9.0): "},
		{"rmsnorm#3@0:illegal", "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered; the GPU's context is dead; the kernel's log (dmesg, Xid)"},
		{"adamw#2@0:ecc", "CUDA_ERROR_ECC_UNCORRECTABLE (214): uncorrectable ECC error encountered; the GPU's context is dead"},
		{"MemcpyHtoDAsync#2@0:wrongdev", "CUDA_ERROR_INVALID_VALUE (1): invalid argument"},
		{"matmul@0:wrongdev", "(after cuda: cuStreamSynchronize peak: CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered; the GPU's context is dead"},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			code, said, _ := onGPU(t, tt.fault)
			if code != 1 || !strings.Contains(said, tt.want) {
				t.Errorf("exit code %d, no %q in\n%s", code, tt.want, said)
			}
		})
	}
}

// TestAGPUThatFailsOnceCostsAStep: the rank starts again from the last checkpoint, and the
// losses are those of a run without faults.
func TestAGPUThatFailsOnceCostsAStep(t *testing.T) {
	saved := []string{"--checkpoint.enable", "--checkpoint.interval=1", "--checkpoint.async_mode=disabled"}
	code, said, want := onGPU(t, "", saved...)
	if code != 0 || len(want) != 4 {
		t.Fatalf("exit code %d, losses %v\n%s", code, want, said)
	}
	code, said, got := onGPU(t, "adamw#3@0:ecc", saved...) // the third step's, and after it there are two
	if code != 0 || !strings.Contains(said, "attempt 1 of 2 failed") || !strings.Contains(said, "CUDA_ERROR_ECC_UNCORRECTABLE (214)") {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	if len(got) < 4 || got[len(got)-1] != want[3] || got[len(got)-2] != want[2] {
		t.Errorf("losses %v, without a fault %v", got, want)
	}
}

// TestAGangWithAFaultStartsAgain: two ranks over NCCL, of which one fails, or waits in a collective for good, come to the losses of
// a run without faults.
func TestAGangWithAFaultStartsAgain(t *testing.T) {
	args := []string{"--checkpoint.enable", "--checkpoint.interval=1", "--checkpoint.async_mode=disabled", "--comm.init_timeout_seconds=5", "--comm.train_timeout_seconds=5"}
	code, said, want := onGPUs(t, 2, "", args...)
	if code != 0 || len(want) != 4 {
		t.Fatalf("exit code %d, losses %v\n%s", code, want, said)
	}
	for fault, cause := range map[string]string{
		"adamw#3@1:ecc":        "CUDA_ERROR_ECC_UNCORRECTABLE (214)",
		"all-reduce#12@1:hang": "ranks 0, 1 have stopped within the call after 5s", // in the fourth step, which does not come to so many after it
	} {
		code, said, got := onGPUs(t, 2, fault, args...)
		if code != 0 || !strings.Contains(said, "attempt 1 of 2 failed") || !strings.Contains(said, cause) {
			t.Fatalf("%s: exit code %d\n%s", fault, code, said)
		}
		if len(got) < 4 || !slices.Equal(got[len(got)-2:], want[2:]) {
			t.Errorf("%s: losses %v, without a fault %v", fault, got, want)
		}
	}
}

// TestASpoiledNumberIsNotTrainedWith: the step says so, and the weights are those before.
func TestASpoiledNumberIsNotTrainedWith(t *testing.T) {
	code, said, losses := onGPU(t, "rmsnorm_grad#1@0:nan")
	if code != 1 || !strings.Contains(said, "gradient norm") {
		t.Errorf("exit code %d, losses %v\n%s", code, losses, said)
	}
}

func TestASlowGPUIsSlow(t *testing.T) {
	code, said, losses := onGPU(t, "adamw@0:slow=50")
	if code != 0 || len(losses) != 4 {
		t.Errorf("exit code %d, losses %v\n%s", code, losses, said)
	}
}
