// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"octet/config"
	"octet/metrics"
)

// evidence is what of a run shows that a key acts.
type evidence string

const (
	trained evidence = "what is trained"  // losses, norms, learning rates, tokens, bytes sent
	printed evidence = "what is printed"  // without times and figures of the machine
	written evidence = "what is written"  // names of files
	refusal evidence = "what is accepted" // the key is refused where it cannot be
)

// proof is a pair of runs that differ in one key.
type proof struct {
	key, value string
	by         evidence
	args       string // of both runs, on top of the tiny model
	ranks      int    // 0: one, without a launcher
	tty        bool   // on a terminal
	env        string // of both runs
	// test, where there is one, shows the key in place of a pair of runs: a file and a function in it.
	test string
}

// proofs has a row, or more, for every key that octet has. A run of the tiny model takes four steps.
func proofs(t *testing.T) []proof {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var ids []byte
	for i := range 2000 {
		ids = binary.LittleEndian.AppendUint16(ids, uint16(i*i%251))
	}
	var (
		other  = file("other.u16", ids)
		toml   = file("run.toml", []byte("[optimizer]\nlr = 1e-2\n"))
		_      = file("program.go", bytes.Repeat([]byte("package main\n"), 40))
		prose  = file("prose.txt", bytes.Repeat([]byte("All ranks read the same text, in another order for every seed. "), 40))
		float8 = "--model.converters=quantize.linear.float8"
		// delayed scaling, of weights that move fast
		delayed = " --quantize.linear.float8.recipe_name=delayed --optimizer.lr=0.1"
		loaded  = "--model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192 --checkpoint.initial_load_path=" + golden(t, "llama_init.safetensors")
		alone   = func() string { // the first rank of two
			return "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + freePort(t)
		}
	)
	inHF := filepath.Join(dir, "hf")
	ok(t, "checkpoint", "convert", "--to=hf", "--config="+goldenConfig(t), golden(t, "llama_init.safetensors"), inHF)
	held := filepath.Join(dir, "held")
	if err := os.Mkdir(held, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 { // of which gosource keeps one in a hundred
		file(fmt.Sprintf("held/%d.go", i), []byte("package held // and a comment\n"))
	}
	file("held/prose.txt", bytes.Repeat([]byte("This is text, not a program. "), 9))
	validated := "--validation.enable --validation.dataset=tokens --validation.local_batch_size=2 --validation.seq_len=16 --validation.freq=2 --validation.steps=2 --validation.dataset_path=" + other
	objects := file("objects.jsonl", bytes.Repeat([]byte("{\"text\": \"one of two texts, \", \"body\": \"the other of the two\"}\n"), 40))
	cached := " --training.dataset_cache=" + filepath.Join(dir, "cache")
	assets, err := filepath.Abs("../../tokenizer/testdata/gpt2")
	if err != nil {
		t.Fatal(err)
	}
	saving := "--checkpoint.enable"
	saved := filepath.Join(dir, "run", "checkpoint", "step-2")
	if text, err := octetCommand(t, append(append([]string{"train"}, tinyFlags(t)...), saving, "--checkpoint.interval=2", "--checkpoint.no_last_save_model_only", "--job.dump_folder="+filepath.Join(dir, "run"))...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	token := " OCTET_JOB_TOKEN=" + strings.Repeat("0123456789abcdef", 4)
	return []proof{
		{key: "job.config_file", value: toml, by: trained},
		{key: "job.dump_folder", value: "elsewhere", by: written},
		{key: "job.description", value: "another", by: printed},
		{key: "job.print_config", value: "true", by: printed},
		{key: "job.save_config_file", value: "saved.toml", by: written},
		{key: "device.name", value: "abacus", by: refusal},
		{key: "device.cuda_graph", value: "true", by: refusal},
		{key: "device.cuda_graph", test: "../../test/multigpu/graph_test.go TestAStepAsAGraph"},

		{key: "model.name", value: "llama4", by: refusal},
		{key: "model.flavor", value: "1B", by: trained},
		{key: "model.flavor", value: "hf", by: trained, args: "--model.hf_assets_path=" + inHF},
		{key: "model.hf_assets_path", value: assets, by: trained, args: "--model.args.vocab_size=1024 --training.dataset=text --training.dataset_path=" + prose + cached},
		{key: "model.converters", value: "quantize.linear.float8", by: trained},
		{key: "model.print_after_conversion", value: "true", by: printed},
		{key: "model.args.dim", value: "64", by: trained},
		{key: "model.args.n_layers", value: "2", by: trained},
		{key: "model.args.n_heads", value: "4", by: trained},
		{key: "model.args.n_kv_heads", value: "2", by: trained},
		{key: "model.args.vocab_size", value: "512", by: trained},
		{key: "model.args.ffn_hidden_dim", value: "64", by: trained},
		{key: "model.args.multiple_of", value: "32", by: trained},
		{key: "model.args.ffn_dim_multiplier", value: "4", by: trained},
		{key: "model.args.norm_eps", value: "0.1", by: trained},
		{key: "model.args.rope_theta", value: "100", by: trained},
		{key: "model.args.use_scaled_rope", value: "false", by: trained},
		{key: "model.args.head_dim", value: "8", by: trained},
		{key: "model.args.rope_factor", value: "2", by: trained},
		{key: "model.args.rope_low_freq_factor", value: "0.0001", by: trained, args: "--model.args.rope_original_max_seq_len=16"},
		{key: "model.args.rope_high_freq_factor", value: "10", by: trained, args: "--model.args.rope_original_max_seq_len=16"},
		{key: "model.args.rope_original_max_seq_len", value: "16", by: trained},
		{key: "model.args.max_seq_len", value: "8", by: refusal},
		{key: "model.args.enable_weight_tying", value: "true", by: trained},

		{key: "optimizer.name", value: "Adam", by: trained},
		{key: "optimizer.lr", value: "1e-2", by: trained},
		{key: "optimizer.beta1", value: "0.5", by: trained},
		{key: "optimizer.beta2", value: "0.5", by: trained},
		{key: "optimizer.eps", value: "1e-2", by: trained},
		{key: "optimizer.weight_decay", value: "0.5", by: trained},
		{key: "lr_scheduler.warmup_steps", value: "3", by: trained},
		{key: "lr_scheduler.total_steps", value: "10", by: trained},
		{key: "lr_scheduler.decay_ratio", value: "0.5", by: trained},
		{key: "lr_scheduler.decay_type", value: "sqrt", by: trained},
		{key: "lr_scheduler.decay_type", value: "cosine", by: trained},
		{key: "lr_scheduler.min_lr_factor", value: "0.5", by: trained},

		{key: "training.dataset", value: "text", by: trained, args: "--training.dataset=gosource --training.dataset_path=" + dir},
		{key: "training.dataset_path", value: other, by: trained},
		{key: "training.dataset_field", value: "body", by: trained, args: "--training.dataset=jsonl --training.dataset_path=" + objects + cached},
		{key: "training.dataset_skip_broken", test: "../../data/prepared_test.go TestBadDocumentsAreNamed"},
		{key: "training.dataset_cache", value: "made", by: written, args: "--training.dataset=jsonl --training.dataset_path=" + objects + cached},
		{key: "training.local_batch_size", value: "1", by: trained},
		{key: "training.global_batch_size", value: "4", by: trained},
		{key: "training.seq_len", value: "32", by: trained},
		{key: "training.steps", value: "3", by: trained},
		{key: "training.max_norm", value: "0.01", by: trained},
		{key: "training.mixed_precision_param", value: "bfloat16", by: trained},

		{key: "parallelism.data_parallel_replicate_degree", value: "2", by: trained, ranks: 2},
		{key: "parallelism.data_parallel_shard_degree", value: "2", by: refusal},
		{key: "parallelism.fsdp_reshard_after_forward", value: "always", by: trained, ranks: 2},
		{key: "parallelism.fsdp_reshard_after_forward", value: "never", by: trained, ranks: 2},
		{key: "parallelism.tensor_parallel_degree", value: "2", by: trained, ranks: 2, args: "--model.args.n_kv_heads=2"},
		{key: "parallelism.enable_sequence_parallel", value: "false", by: trained, ranks: 2, args: "--model.args.n_kv_heads=2 --parallelism.tensor_parallel_degree=2"},
		{key: "parallelism.disable_loss_parallel", value: "true", by: trained, ranks: 2, args: "--model.args.n_kv_heads=2 --parallelism.tensor_parallel_degree=2"},
		{key: "parallelism.enable_async_tensor_parallel", value: "true", by: trained, ranks: 2, args: "--model.args.n_kv_heads=2 --parallelism.tensor_parallel_degree=2"},
		{key: "parallelism.pipeline_parallel_degree", value: "2", by: refusal},
		{key: "parallelism.context_parallel_degree", value: "2", by: refusal},

		{key: "activation_checkpoint.mode", value: "full", by: printed, args: "--debug.print_plan"},
		{key: "activation_checkpoint.selective_ac_option", value: "op", by: printed, args: "--debug.print_plan --activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=1"},

		{key: "checkpoint.enable", value: "true", by: written},
		{key: "checkpoint.folder", value: "elsewhere", by: written, args: saving},
		{key: "checkpoint.interval", value: "2", by: written, args: saving},
		{key: "checkpoint.load_step", value: "7", by: refusal, args: saving},
		{key: "checkpoint.initial_load_model_only", value: "false", by: trained, args: "--checkpoint.initial_load_path=" + saved},
		{key: "checkpoint.last_save_model_only", test: "../../train/saving_test.go TestTheLastSave"},
		{key: "checkpoint.export_dtype", test: "../../train/saving_test.go TestTheLastSave"},
		{key: "checkpoint.async_mode", test: "../../train/saving_test.go TestAnAsynchronousSaveIsWrittenBesideSteps"},
		{key: "checkpoint.keep_latest_k", value: "2", by: written, args: saving + " --checkpoint.interval=1"},
		{key: "checkpoint.exclude_from_loading", value: "train_state", by: trained, args: "--checkpoint.no_initial_load_model_only --checkpoint.initial_load_path=" + saved},
		{key: "checkpoint.exclude_from_loading", value: "optimizer", by: trained, args: "--checkpoint.no_initial_load_model_only --checkpoint.initial_load_path=" + saved},
		{key: "checkpoint.exclude_from_loading", value: "model", by: trained, args: "--checkpoint.no_initial_load_model_only --checkpoint.initial_load_path=" + saved},
		{key: "checkpoint.exclude_from_loading", value: "dataloader", by: trained, args: "--checkpoint.no_initial_load_model_only --checkpoint.initial_load_path=" + saved},
		{key: "checkpoint.exclude_from_loading", value: "lr_scheduler", by: trained, args: "--checkpoint.no_initial_load_model_only --checkpoint.initial_load_path=" + saved},
		{key: "checkpoint.enable_first_step_checkpoint", value: "true", by: written, args: saving},
		{key: "checkpoint.create_seed_checkpoint", value: "true", by: written, args: saving},
		{key: "checkpoint.load_only", value: "true", by: written, args: saving},
		{key: "checkpoint.initial_load_path", value: saved, by: trained},
		{key: "checkpoint.initial_load_path", value: golden(t, "llama_init.safetensors"), by: trained, args: strings.Split(loaded, " --checkpoint")[0]},

		{key: "checkpoint.last_save_in_hf", value: "true", by: written, args: "--checkpoint.enable"},
		{key: "checkpoint.initial_load_in_hf", value: "true", by: trained, args: strings.Split(loaded, " --checkpoint")[0] + " --model.flavor=hf --model.hf_assets_path=" + inHF},

		{key: "quantize.linear.float8.enable_fsdp_float8_all_gather", value: "true", by: trained, args: float8, ranks: 2},
		{key: "quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", test: "../../train/output_test.go TestCollectivesOfAStep"},
		{key: "quantize.linear.float8.recipe_name", value: "rowwise", by: trained, args: float8},
		{key: "quantize.linear.float8.recipe_name", value: "rowwise_with_gw_hp", by: trained, args: float8},
		{key: "quantize.linear.float8.recipe_name", value: "delayed", by: trained, args: float8},
		{key: "quantize.linear.float8.scaling_type_input", value: "delayed", by: trained, args: float8},
		{key: "quantize.linear.float8.scaling_type_weight", value: "delayed", by: trained, args: float8},
		{key: "quantize.linear.float8.scaling_type_grad_output", value: "delayed", by: trained, args: float8},
		{key: "quantize.linear.float8.history_len", value: "1", by: trained, args: float8 + delayed},
		{key: "quantize.linear.float8.enable_amax_init", value: "false", by: trained, args: float8 + delayed},
		{key: "quantize.linear.float8.round_scales_to_power_of_2", value: "true", by: trained, args: float8},
		{key: "quantize.linear.float8.pad_inner_dim", test: "../../fp8/padding_test.go TestPaddingChangesNoBit"},
		{key: "quantize.linear.float8.fast_accum", test: "../../models/llama/plan/plan_test.go TestTheRecipeIsTheKeys"}, // not every processor sums so
		{key: "quantize.linear.float8.filter_fqns", value: "output,wq", by: trained, args: float8},
		{key: "quantize.linear.float8.emulate", value: "true", by: trained, args: float8 + " --optimizer.lr=0.1"}, // a last bit shows

		{key: "validation.enable", value: "true", by: trained, args: "--validation.dataset=tokens --validation.steps=2 --validation.seq_len=16 --validation.dataset_path=" + other},
		{key: "validation.dataset", value: "text", by: trained, args: "--validation.enable --validation.dataset=gosource --validation.steps=1 --validation.seq_len=16 --validation.dataset_path=" + held},
		{key: "validation.dataset_path", value: golden(t, "llama_tokens.u16"), by: trained, args: validated},
		{key: "validation.fraction", value: "0.3", by: trained, args: "--validation.enable --validation.local_batch_size=2 --validation.seq_len=16 --validation.steps=2 --training.dataset=text --training.dataset_path=" + held},
		{key: "validation.local_batch_size", value: "3", by: trained, args: validated},
		{key: "validation.seq_len", value: "32", by: trained, args: validated},
		{key: "validation.freq", value: "3", by: trained, args: validated},
		{key: "validation.steps", value: "3", by: trained, args: validated},

		{key: "metrics.log_freq", value: "2", by: printed},
		{key: "metrics.enable_tensorboard", value: "true", by: written},
		{key: "metrics.save_tb_folder", value: "board", by: written, args: "--metrics.enable_tensorboard"},
		{key: "metrics.disable_color_printing", value: "true", by: printed, tty: true},
		{key: "profiling.enable_profiling", value: "true", by: written, args: "--profiling.profile_freq=2"},
		{key: "profiling.save_traces_folder", value: "traces", by: written, args: "--profiling.profile_freq=2 --profiling.enable_profiling"},
		{key: "profiling.profile_freq", value: "2", by: written, args: "--profiling.enable_profiling"},
		{key: "profiling.profiler_active", test: "../../train/profiler_test.go TestTracesOfSteps"},
		{key: "comm.init_timeout_seconds", value: "1", by: printed, args: "--comm.init_timeout_seconds=2", env: alone() + token},
		{key: "comm.insecure", value: "true", by: printed, args: "--comm.init_timeout_seconds=1", env: alone()},
		{key: "comm.train_timeout_seconds", test: "train_test.go TestARankThatIsKilledOrStopsAnswering"},

		{key: "debug.seed", value: "1", by: trained},
		{key: "debug.seed", value: "1", by: trained, args: loaded + " --training.dataset=text --training.dataset_path=" + prose}, // of the order of data
		{key: "debug.float8_stats", value: "true", by: written, args: float8},
		{key: "debug.print_plan", value: "true", by: printed},
		{key: "debug.dry_run", value: "true", by: written},
		{key: "debug.dry_run", value: "true", by: refusal, ranks: 2},
		{key: "debug.detect_anomaly", value: "true", by: printed, args: "--debug.print_plan"},
	}
}

// outcome is all that a run shows.
type outcome struct {
	code  int
	shows map[evidence]string
}

// TestEveryKeyActs changes each key and wants a difference in what is trained, printed, written or accepted.
func TestEveryKeyActs(t *testing.T) {
	rows := proofs(t)
	for _, key := range config.Keys() {
		if !slices.ContainsFunc(rows, func(p proof) bool { return p.key == key }) {
			t.Errorf("nothing shows that %s acts: give it a row", key)
		}
	}
	var mu sync.Mutex
	before := map[proof]func() outcome{} // runs without the change
	for _, p := range rows {
		if p.test != "" {
			file, name, _ := strings.Cut(p.test, " ")
			text, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(text), "func "+name+"(") {
				t.Errorf("%s: there is no %s (%v)", p.key, p.test, err)
			}
			continue
		}
		t.Run(p.key+"="+filepath.Base(p.value), func(t *testing.T) {
			t.Parallel()
			plain := p
			plain.key, plain.value, plain.by = "", "", ""
			mu.Lock()
			if before[plain] == nil {
				before[plain] = sync.OnceValue(func() outcome { return plain.run(t) })
			}
			base := before[plain]
			mu.Unlock()
			without, with := base(), p.run(t)
			if p.by == refusal {
				if without.code != 0 || with.code == 0 || !strings.Contains(with.shows[printed], p.key+" = ") {
					t.Errorf("exit code %d, and %d with the key, want it refused by name:\n%s", without.code, with.code, with.shows[printed])
				}
				return
			}
			if without.code != with.code || p.env == "" && with.code != 0 {
				t.Errorf("exit code %d, and %d with the key:\n%s", without.code, with.code, with.shows[printed])
			}
			if without.shows[p.by] == with.shows[p.by] {
				t.Errorf("%s is the same with the key:\n%s", p.by, with.shows[p.by])
			}
			if p.by == printed && without.shows[trained] != with.shows[trained] {
				t.Errorf("a key of the display changes what is trained:\n%s\n%s", without.shows[trained], with.shows[trained])
			}
		})
	}
}

// run trains in an empty folder.
func (p proof) run(t *testing.T) outcome {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	if p.ranks > 0 {
		args = []string{"run", fmt.Sprint("--nproc-per-node=", p.ranks)}
	}
	args = append(append(append(args, "train"), tinyFlags(t)...), strings.Fields(p.args)...)
	if p.key != "" {
		args = append(args, "--"+p.key+"="+p.value)
	}
	cmd := octetCommand(t, args...)
	cmd.Dir = dir
	cmd.Env = append(append(cmd.Env, "OMP_NUM_THREADS=1"), strings.Fields(p.env)...)
	var text []byte
	if p.tty {
		text = onTerminal(t, cmd)
	} else {
		text, _ = cmd.CombinedOutput()
	}
	if cmd.ProcessState == nil {
		t.Fatal("octet did not start")
	}
	o := outcome{cmd.ProcessState.ExitCode(), map[evidence]string{printed: steady(string(text), dir)}}
	var files []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			name, _, _ := strings.Cut(rel, ".tfevents.") // time, host and process come next
			files = append(files, name)
			if d.Name() == metrics.FileName {
				o.shows[trained] = learned(t, path)
			}
		}
		return nil
	})
	o.shows[written] = strings.Join(files, "\n")
	return o
}

// onTerminal runs cmd on a terminal until it ends, and returns what it wrote there.
func onTerminal(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	screen, program := openTerminal(t, 140)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	err := cmd.Start()
	program.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(screen) // ends with an error when nobody has the terminal open
	_ = cmd.Wait()                // the exit code is the caller's to look at
	return text
}

// learned is what a run's metrics say but for times and memory.
func learned(t *testing.T, path string) string {
	records, err := metrics.Read(path)
	if err != nil {
		t.Error(err)
	}
	var b strings.Builder
	for _, r := range records {
		fmt.Fprint(&b, r.Step, " ", r.Loss, " ", r.GradNorm, " ", r.LR, " ", r.Tokens, " ", r.CommBytes)
		if v := r.Validation; v != nil {
			fmt.Fprint(&b, ", validated: ", v.Loss, " on ", v.Tokens)
		}
		fmt.Fprintln(&b)
	}
	return cmp.Or(b.String(), "nothing")
}

// steady is an output without what differs between equal runs.
func steady(text, dir string) string {
	text = strings.ReplaceAll(text, dir, "DIR")
	for _, r := range []struct{ pattern, by string }{
		{`\d\d:\d\d:\d\d\.\d+`, "TIME"},
		{`memory: [^\r\n]*`, "FIGURES"},
		{`\d+\.\d+s|\d+ms`, "DURATION"},
		{`\r[^\n]*\r`, ""}, // a progress bar
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.by)
	}
	return text
}

// TestThreadsAreThoseAskedFor: OMP_NUM_THREADS, or this rank's part of the cores.
func TestThreadsAreThoseAskedFor(t *testing.T) {
	for _, tt := range []struct{ threads, want string }{{"1", "1 threads"}, {"3", "3 threads"}, {"", fmt.Sprint(runtime.NumCPU(), " threads")}} {
		p := proof{env: "OMP_NUM_THREADS=" + tt.threads}
		if o := p.run(t); o.code != 0 || !strings.Contains(o.shows[printed], ", "+tt.want+")") {
			t.Errorf("OMP_NUM_THREADS=%s: exit code %d, want %s in\n%s", tt.threads, o.code, tt.want, o.shows[printed])
		}
	}
	for _, bad := range []string{"0", "4097", "9223372036854775808", "many"} {
		p := proof{env: "OMP_NUM_THREADS=" + bad}
		if o := p.run(t); o.code != 1 || !strings.Contains(o.shows[printed], "OMP_NUM_THREADS=\""+bad+"\": want a number of threads, 1 to 4096") {
			t.Errorf("OMP_NUM_THREADS=%s: exit code %d\n%s", bad, o.code, o.shows[printed])
		}
	}
}
