// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/metrics"
)

// hostOf makes the ranks of one host of a job of two hosts with a rank each, of which the second may be asked for more.
type hostOf func(t *testing.T, port string, host int, args []string) *process

// launchers are the ways to start a rank on each of two hosts.
func launchers() map[string]hostOf {
	byHand := func(env string) hostOf {
		return func(t *testing.T, port string, host int, args []string) *process {
			p := octetProcess(t, append([]string{"train"}, args...)...)
			p.Env = append(p.Env, strings.Fields(fmt.Sprintf(env, host, host))...)
			p.Env = append(p.Env, "MASTER_ADDR=127.0.0.1", "MASTER_PORT="+port, "OCTET_JOB_TOKEN="+strings.Repeat("0123456789abcdef", 4))
			return p
		}
	}
	return map[string]hostOf{
		"octet run": func(t *testing.T, port string, host int, args []string) *process {
			return octetProcess(t, append([]string{"run", "--nnodes=2", fmt.Sprint("--node-rank=", host), "--master-port=" + port, "--rdzv-id=job", "train"}, args...)...)
		},
		"torchrun": byHand("RANK=%d WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 GROUP_RANK=%d GROUP_WORLD_SIZE=2"),
		"Slurm":    byHand("SLURM_PROCID=%d SLURM_NTASKS=2 SLURM_NODEID=%d SLURM_NNODES=2 SLURM_LOCALID=0 SLURM_NTASKS_PER_NODE=1 SLURM_JOB_ID=1"),
	}
}

// join is a new list of both.
func join(flags []string, more ...string) []string { return slices.Concat(flags, more) }

// TestRanksAgreeOnWhatTheyWereAskedFor: whoever started them, and whatever the hosts differ in.
func TestRanksAgreeOnWhatTheyWereAskedFor(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := os.ReadFile(golden(t, "llama_tokens.u16"))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(golden(t, "llama_init.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte, change int) string {
		path := filepath.Join(t.TempDir(), name)
		content = append([]byte(nil), content...)
		if change != 0 {
			content[len(content)+change] ^= 1
		}
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	load := strings.Fields("--model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192")
	validated := strings.Fields("--validation.enable --validation.dataset=tokens --validation.local_batch_size=2 --validation.seq_len=16 --validation.steps=2")
	const data, init = "--training.dataset_path=", "--checkpoint.initial_load_path="
	for _, tt := range []struct {
		name  string
		every bool        // whoever starts the ranks, not octet run alone
		args  [2][]string // of the two hosts
		want  [][]string  // what the errors say of each key, beside the hosts; none: they train
	}{
		{"the same, elsewhere", true, [2][]string{
			join(load, data+file("a.u16", tokens, 0), init+file("a.safetensors", weights, 0)), join(load, data+file("b.u16", tokens, 0), init+file("b.safetensors", weights, 0))}, nil},
		{"a learning rate and a seed", true, [2][]string{{"--optimizer.lr=0.001"}, {"--optimizer.lr=0.003", "--debug.seed=7"}}, [][]string{{"debug.seed", " 0 on ", " 7 on "}, {"optimizer.lr", " 0.001 on ", " 0.003 on "}}},
		{"clipping", false, [2][]string{{}, {"--training.max_norm=2"}}, [][]string{{"training.max_norm", " 1 on ", " 2 on "}}},
		{"a constant of the model", false, [2][]string{{}, {"--model.args.norm_eps=1e-6"}}, [][]string{{"model.args.norm_eps", " unset on ", " 1e-06 on "}}},
		{"steps", false, [2][]string{{}, {"--training.steps=5"}}, [][]string{{"training.steps", " 4 on ", " 5 on "}}},
		{"contents of the data", true, [2][]string{{}, {data + file("c.u16", tokens, -2)}}, [][]string{{"the training data", " 10241 tokens with the fingerprint "}}},
		{"length of the data", false, [2][]string{{}, {data + file("d.u16", tokens[:8000], 0)}}, [][]string{{"the training data", " 10241 tokens ", " 4000 tokens "}}},
		{"contents of the validation data", false, [2][]string{join(validated, "--validation.dataset_path="+file("g.u16", tokens, 0)), join(validated, "--validation.dataset_path="+file("h.u16", tokens, -2))},
			[][]string{{"the validation data", " 10241 tokens with the fingerprint "}}},
		{"contents of the weights", true, [2][]string{join(load, init+file("e.safetensors", weights, 0)), join(load, init+file("f.safetensors", weights, -1))}, [][]string{{"the initial weights"}}},
	} {
		for by, host := range launchers() {
			if !tt.every && by != "octet run" {
				continue
			}
			t.Run(tt.name+"/"+by, func(t *testing.T) {
				t.Parallel()
				port := freePort(t)
				var hosts [2]*process
				for i := range hosts {
					hosts[i] = host(t, port, i, join(append(tinyFlags(t), "--job.dump_folder="+t.TempDir()), tt.args[i]...))
				}
				want := tt.want
				start(t, hosts[:]...)
				if by == "octet run" && want != nil {
					// The host that comes later is refused, with the first key; the other waits for one that is right.
					want = want[:1]
					refused := make(chan int, len(hosts))
					for i, h := range hosts {
						go func() { h.exitCode(); refused <- i }()
					}
					i := <-refused
					hosts[1-i].Process.Kill()
					<-refused
					hosts[0], hosts[1] = hosts[i], hosts[i]
				}
				for i, h := range hosts {
					code, text := h.exitCode(), h.stderr.String()
					if (code != 0) != (want != nil) {
						t.Errorf("host %d: exit code %d\n%s", i, code, text)
					}
					if by == "octet run" && want != nil && strings.Contains(text, "[default") {
						t.Errorf("host %d: a rank has started:\n%s", i, text)
					}
					for _, parts := range want {
						for _, part := range append(parts, name) {
							if !strings.Contains(text, part) {
								t.Errorf("host %d does not say %q:\n%s", i, part, text)
							}
						}
					}
				}
			})
		}
	}
}

// TestARankThatCannotBeginTellsTheOthers why, so that none of them has to find that it is gone.
func TestARankThatCannotBeginTellsTheOthers(t *testing.T) {
	out, port := t.TempDir(), freePort(t)
	held, err := metrics.OpenFolder(out, metrics.Owner{Job: "another", PID: os.Getpid(), Host: "here"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	var ranks [2]*process
	for i := range ranks {
		ranks[i] = launchers()["torchrun"](t, port, i, append(tinyFlags(t), "--job.dump_folder="+out))
	}
	start(t, ranks[:]...)
	for i, r := range ranks {
		if code, text := r.exitCode(), r.stderr.String(); code != 1 || !strings.Contains(text, "another") {
			t.Errorf("rank %d: exit code %d, want the process that holds the folder named:\n%s", i, code, text)
		}
	}
}
