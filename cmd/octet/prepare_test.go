// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"octet/launcher"
	"octet/metrics"
)

// tiny is a model of one layer that trains on the golden tokens in no time.
func tiny(t *testing.T) string {
	return `[model.args]
dim = 32
n_layers = 1
n_heads = 2
n_kv_heads = 1
vocab_size = 256
[training]
dataset = "tokens"
dataset_path = "` + golden(t, "llama_tokens.u16") + `"
local_batch_size = 2
seq_len = 16
steps = 4
mixed_precision_param = "float32"
[lr_scheduler]
warmup_steps = 1
`
}

// tinyFlags are the same as flags.
func tinyFlags(t *testing.T) []string {
	var flags []string
	section := ""
	for line := range strings.Lines(tiny(t)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, " = "); ok {
			flags = append(flags, "--"+section+"."+key+"="+strings.Trim(value, `"`))
		} else {
			section = strings.Trim(line, "[]")
		}
	}
	return flags
}

// What was checked is what runs, also where it can be read only once.
func TestAConfigurationFromAPipeIsReadOnce(t *testing.T) {
	out := t.TempDir()
	cmd := octetCommand(t, "run", "--nproc-per-node=2", "--max-restarts=0", "train", "--config", "/dev/stdin", "--job.dump_folder="+out)
	cmd.Stdin = strings.NewReader(tiny(t))
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	records, err := metrics.Read(filepath.Join(out, metrics.FileName))
	if err != nil || len(records) != 4 || records[0].Tokens != 2*2*16 {
		t.Errorf("the ranks did not train what was read: %+v, %v\n%s", records, err, text)
	}
}

// unlike makes two hosts of 2 ranks and 1 that train the tiny model.
func unlike(t *testing.T, more ...string) [2]*process {
	port := freePort(t)
	var agents [2]*process
	for i := range agents {
		args := []string{"run", "--nnodes=2", "--node-rank", fmt.Sprint(i), "--master-port", port, "--rdzv-id=job", "--nproc-per-node", fmt.Sprint(2 - i), "train"}
		agents[i] = octetProcess(t, append(append(args, tinyFlags(t)...), more...)...)
	}
	return agents
}

// The number of ranks is what the rendezvous says.
func TestHostsNeedNotBeAlike(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	agents := unlike(t, "--parallelism.data_parallel_shard_degree=3", "--training.global_batch_size=12", "--job.dump_folder="+out)
	start(t, agents[:]...)
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
		}
	}
	records, err := metrics.Read(filepath.Join(out, metrics.FileName))
	if err != nil || len(records) != 4 || records[0].Tokens != 12*16 {
		t.Errorf("%+v, %v", records, err)
	}
}

// What does not fit that number is found before a rank starts, on every host.
func TestAWorldThatDoesNotFitIsRefusedWhereTheHostsMeet(t *testing.T) {
	t.Parallel()
	agents := unlike(t, "--parallelism.data_parallel_shard_degree=4", "--job.dump_folder="+t.TempDir())
	start(t, agents[:]...)
	for i, a := range agents {
		code, stderr := a.exitCode(), a.stderr.String()
		if code != 1 || !strings.Contains(lastLine(stderr), "parallelism.data_parallel_shard_degree = 4: the degrees multiply to 4 × data_parallel_replicate_degree 1 × tensor_parallel_degree 1 = 4, but the world size is 3") ||
			strings.Contains(stderr+a.stdout.String(), "[default") {
			t.Errorf("agent %d: code %d\n%s%s", i, code, stderr, a.stdout.String())
		}
	}
}

// What fits no number of ranks is found before the hosts meet.
func TestAWrongValueIsRefusedBeforeTheHostsMeet(t *testing.T) {
	t.Parallel()
	agents := unlike(t, "--training.steps=0")
	start(t, agents[1])
	if code, stderr := agents[1].exitCode(), agents[1].stderr.String(); code != 1 || !strings.Contains(stderr, "training.steps = 0: must be from 1") {
		t.Errorf("code %d\n%s", code, stderr)
	}
}

// What another process holds, and what only validation would read, is found before a rank starts.
func TestFilesAreLookedAtBeforeARankStarts(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	held, err := metrics.OpenFolder(out, metrics.Owner{Job: "another", PID: os.Getpid(), Host: "here"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ids := filepath.Join(t.TempDir(), "bad.u16")
	if err := os.WriteFile(ids, append(make([]byte, 2000), 44, 1), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"--job.dump_folder=" + out, "another"},
		{"--validation.enable --validation.dataset=tokens --validation.seq_len=16 --job.dump_folder=" + t.TempDir() + " --validation.dataset_path=" + ids, "validation.dataset_path"},
		{"--validation.enable --validation.dataset=tokens --validation.seq_len=16 --job.dump_folder=" + t.TempDir() + " --validation.dataset_path=" + ids, "id 300 at position 1000"},
	} {
		code, stdout, stderr := run(t, append(append([]string{"run", "--nproc-per-node=2", "train"}, tinyFlags(t)...), strings.Fields(tt.args)...)...)
		if code != 1 || !strings.Contains(stderr, tt.want) || strings.Contains(stdout+stderr, "[default") {
			t.Errorf("%s: exit code %d, want %q before a rank starts:\n%s%s", tt.args, code, tt.want, stdout, stderr)
		}
	}
}

// The rank that speaks knows its device's peak.
func TestTheFirstRankReportsItsUtilization(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, append(append([]string{"run", "--nproc-per-node=2", "train"}, tinyFlags(t)...), "--job.dump_folder="+t.TempDir())...)
	if code != 0 || !regexp.MustCompile(`mfu: [0-9]`).MatchString(stdout+stderr) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// TestOneRankOfAHostSpeaksForItsFiles: the others read none of them.
func TestOneRankOfAHostSpeaksForItsFiles(t *testing.T) {
	for _, rank := range []int{1, 2} {
		contents, err := compared(nil, launcher.Place{GroupWorldSize: 2, LocalRank: rank}, handed{Contents: map[string]string{"the training data": "read by rank 0"}})
		if contents != nil || err != nil {
			t.Errorf("local rank %d compares %v, %v", rank, contents, err)
		}
	}
}
