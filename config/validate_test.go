// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/config"
)

func TestValidateErrors(t *testing.T) {
	const float8 = "--model.converters=quantize.linear.float8"
	for _, tt := range []struct {
		args  string
		world int
		want  string // a substring of the error; none if empty
	}{
		{"", 1, ""},
		{"", 4, ""},

		{"--training.steps=0", 1, "command line: training.steps = 0: must be from 1 to 1000000000"},
		{"--training.seq_len=-4", 1, "training.seq_len = -4: must be from 1 to 1048576"},
		{"--training.max_norm=0", 1, "training.max_norm = 0: must be more than 0"},
		{"--training.max_norm=inf", 1, ""},
		{"--optimizer.lr=-1", 1, "optimizer.lr = -1: must be from 0 to 1000000"},
		{"--optimizer.lr=nan", 1, "optimizer.lr = NaN: must be from 0 to 1000000"},
		{"--optimizer.lr=inf", 1, "optimizer.lr = +Inf: must be from 0 to 1000000"},
		{"--optimizer.beta2=1", 1, "optimizer.beta2 = 1: must be at least 0 and less than 1"},
		{"--lr_scheduler.decay_ratio=1.5", 1, "lr_scheduler.decay_ratio = 1.5: must be from 0 to 1"},
		{"--lr_scheduler.total_steps=0", 1, "lr_scheduler.total_steps = 0: must be from 1 to 1000000000"},
		{"--validation.enable --validation.steps=0", 1, "validation.steps = 0: must be -1 or from 1 to 1000000000"},
		{"--model.args.dim=0", 1, "model.args.dim = 0: must be from 1 to 131072"},
		{"--comm.train_timeout_seconds=0", 1, "comm.train_timeout_seconds = 0: must be from 1 to 1000000"},

		{"--optimizer.name=SGD", 1, `optimizer.name = "SGD": must be one of AdamW, Adam`},
		{"--optimizer.name=", 1, `optimizer.name = "": must be one of AdamW, Adam`},
		{"--model.flavor=9B", 1, `model.flavor = "9B": must be one of debugmodel, 1B, 3B, 8B, 70B, 405B`},
		{"--model.converters=quantize.linear.float8,float9", 1, `must be one of quantize.linear.float8`},
		{"--config=DIR/comma.toml", 1, `comma.toml:2: model.converters = "quantize.linear.float8,": must be one of quantize.linear.float8`},
		{"--training.local_batch_size=32768 --training.seq_len=16384", 1, "training.seq_len = 16384: × local_batch_size 32768 is more than the 268435456 tokens"},
		{"--training.local_batch_size=16384 --training.seq_len=16384", 1, ""},
		{"--validation.enable --validation.local_batch_size=32768 --validation.seq_len=16384", 1, "validation.seq_len = 16384: × local_batch_size 32768 is more than the 268435456 tokens"},
		{"--job.dump_folder=DIR/a.txt/out", 1, "job.dump_folder = "},
		{"--model.converters=float9", 1, `model.converters = "float9": must be one of quantize.linear.float8`},
		{"--training.dataset=c4", 1, `training.dataset = "c4": must be one of gosource, text, jsonl, parquet, tokens`},
		{"--device.name=tpu", 1, `device.name = "tpu": must be one of cpu, cuda`},

		{"--parallelism.tensor_parallel_degree=2", 2, ""},
		{"--parallelism.tensor_parallel_degree=2", 3, "world size 3 does not divide by 2, the product of the degrees beside parallelism.data_parallel_shard_degree"},
		{"--parallelism.tensor_parallel_degree=2 --parallelism.enable_async_tensor_parallel", 2, ""},
		{"--parallelism.tensor_parallel_degree=2 --parallelism.enable_async_tensor_parallel --parallelism.enable_sequence_parallel=false", 2,
			"parallelism.enable_async_tensor_parallel = true: without parallelism.enable_sequence_parallel no rows travel; set it, or use false"},
		{"--parallelism.tensor_parallel_degree=2 --parallelism.enable_async_tensor_parallel --debug.detect_anomaly", 2,
			"parallelism.enable_async_tensor_parallel = true: debug.detect_anomaly reads activations that are still on their way; use false while you look for one"},
		{"--parallelism.pipeline_parallel_degree=2", 2, "pipeline parallelism is not in octet yet; use 1"},
		{"--parallelism.context_parallel_degree=2", 2, "context parallelism is not in octet yet; use 1"},
		{"--parallelism.data_parallel_replicate_degree=2", 2, ""},
		{"--parallelism.data_parallel_replicate_degree=2 --parallelism.data_parallel_shard_degree=2", 4, ""},
		{"--parallelism.data_parallel_replicate_degree=2", 3, "world size 3 does not divide by 2, the product of the degrees beside parallelism.data_parallel_shard_degree: data_parallel_replicate_degree 2 × tensor_parallel_degree 1; use 2 or 4 ranks, or degrees whose product divides 3"},
		{"--parallelism.data_parallel_replicate_degree=4", 3, "use 4 ranks, or degrees whose product divides 3"},
		{"--parallelism.data_parallel_replicate_degree=2 --parallelism.data_parallel_shard_degree=3", 4, "parallelism.data_parallel_shard_degree = 3: the degrees multiply to 3 × data_parallel_replicate_degree 2 × tensor_parallel_degree 1 = 6, but the world size is 4; use 2, or -1 for whatever is left"},
		{"--parallelism.context_parallel_degree=3 --parallelism.pipeline_parallel_degree=2", 4, "tensor_parallel_degree 1 × context_parallel_degree 3 × pipeline_parallel_degree 2; use 6 ranks"},
		{"--parallelism.data_parallel_replicate_degree=0", 2, "must be from 1 to 1048576"},
		{"--debug.deterministic", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise_with_gw_hp", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise --quantize.linear.float8.enable_fsdp_float8_all_gather", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise --quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", 1,
			`quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp = true: has nothing to do for recipe_name "rowwise": each row's scale is its own and travels with it; set it to false`},
		{float8 + " --quantize.linear.float8.recipe_name=tensorwise", 1, ""},

		{"--activation_checkpoint.mode=some", 1, `activation_checkpoint.mode = "some": must be one of none, selective, full`},
		{"--activation_checkpoint.mode=selective", 1, ""},
		{"--activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=0", 1, `activation_checkpoint.selective_ac_option = "0": must be op, or a number from 1`},
		{"--activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=2.5", 1, `activation_checkpoint.selective_ac_option = "2.5": must be op, or a number from 1`},
		{"--activation_checkpoint.mode=full --activation_checkpoint.selective_ac_option=none", 1, ""},

		{"--parallelism.data_parallel_shard_degree=2", 2, ""},
		{"--parallelism.data_parallel_shard_degree=3", 2, "parallelism.data_parallel_shard_degree = 3: the degrees multiply to 3 × data_parallel_replicate_degree 1 × tensor_parallel_degree 1 = 3, but the world size is 2; use 2, or -1 for whatever is left"},
		{"--parallelism.data_parallel_shard_degree=0", 2, "must be -1 or from 1 to 1048576"},
		{"--parallelism.tensor_parallel_degree=3", 4, "world size 4 does not divide by 3, the product of the degrees beside parallelism.data_parallel_shard_degree"},
		{"--training.local_batch_size=4 --training.global_batch_size=16", 2, ""},
		{"--training.local_batch_size=4 --training.global_batch_size=10", 2, "training.global_batch_size = 10: is not a multiple of local_batch_size 4 × 2 data ranks = 8; use 8 or 16"},
		{"--training.local_batch_size=4 --training.global_batch_size=3", 2, "use 8"},
		{"--training.local_batch_size=4 --training.global_batch_size=131080", 2, "training.global_batch_size = 131080: is more than 16384 microbatches of local_batch_size 4 on 2 data ranks, which a step has in memory; use at most 131072"},
		{"--training.local_batch_size=1 --training.global_batch_size=16385", 1, "training.global_batch_size = 16385: is more than 16384 microbatches of local_batch_size 1 on 1 data ranks"},
		{"--training.local_batch_size=4 --training.global_batch_size=131072", 2, ""},
		{"--training.local_batch_size=1 --training.global_batch_size=16385", 1, "use at most 16384"},
		{"--training.local_batch_size=0", 2, "training.local_batch_size = 0: must be from 1 to 1048576"},

		{"--quantize.linear.float8.emulate", 1, "quantize.linear.float8.emulate = true: has no effect without quantize.linear.float8 in model.converters"},
		{float8 + " --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", 1,
			"quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp = true: has no effect without enable_fsdp_float8_all_gather = true"},
		{float8 + " --training.local_batch_size=1 --training.seq_len=2047", 1,
			"training.seq_len = 2047: × local_batch_size 1 = 2047 tokens per rank, not a multiple of 16 (grad_weight contracts over tokens in float8); use seq_len 2048"},
		{float8 + " --training.local_batch_size=1 --training.seq_len=2047 --quantize.linear.float8.emulate", 1, ""},
		{float8 + " --training.local_batch_size=1 --training.seq_len=2047 --quantize.linear.float8.pad_inner_dim", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=colwise", 1, `quantize.linear.float8.recipe_name = "colwise": must be one of tensorwise, rowwise, rowwise_with_gw_hp, delayed`},
		{float8 + " --quantize.linear.float8.recipe_name=delayed --quantize.linear.float8.history_len=4 --quantize.linear.float8.no_enable_amax_init", 1, ""},
		{float8 + " --quantize.linear.float8.scaling_type_grad_output=delayed --quantize.linear.float8.history_len=4", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=delayed --quantize.linear.float8.history_len=0", 1, "quantize.linear.float8.history_len = 0: must be from 1 to 65536"},
		{float8 + " --quantize.linear.float8.fast_accum=output,grad_input,grad_weight", 1, ""},
		{float8 + " --quantize.linear.float8.fast_accum=", 1, ""},
		{float8 + " --quantize.linear.float8.fast_accum=grad_output", 1, `quantize.linear.float8.fast_accum = "grad_output": must be one of output, grad_input, grad_weight`},
		{float8 + " --quantize.linear.float8.emulate --quantize.linear.float8.fast_accum=output,grad_input", 1,
			`quantize.linear.float8.fast_accum = "output,grad_input": has no effect with emulate = true, which multiplies in float32; leave one of the two out`},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise_with_gw_hp --quantize.linear.float8.fast_accum=output,grad_input", 1, ""},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise_with_gw_hp --quantize.linear.float8.fast_accum=grad_weight", 1,
			`quantize.linear.float8.fast_accum = "grad_weight": recipe_name = "rowwise_with_gw_hp" does not multiply grad_weight in float8; leave it out`},
		{"--quantize.linear.float8.fast_accum=", 1, "quantize.linear.float8.fast_accum"},
		{float8 + " --quantize.linear.float8.history_len=4", 1,
			`quantize.linear.float8.history_len = 4: has no effect without delayed scaling: recipe_name = "delayed", or a scaling_type_* that is`},
		{float8 + " --quantize.linear.float8.no_enable_amax_init", 1, "quantize.linear.float8.enable_amax_init = false: has no effect without delayed scaling"},
		{float8 + " --quantize.linear.float8.scaling_type_input=static", 1, `quantize.linear.float8.scaling_type_input = "static": must be one of dynamic, delayed`},
		{float8 + " --quantize.linear.float8.recipe_name=rowwise --quantize.linear.float8.scaling_type_weight=delayed", 1,
			`quantize.linear.float8.scaling_type_weight = "delayed": recipe_name = "rowwise" says how all operands are cast; leave one of the two out`},
		{float8 + " --quantize.linear.float8.recipe_name=delayed --quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", 1,
			`quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp = true: needs scaling_type_weight "dynamic", found "delayed"; delayed weights get their scale from the sync after backward: set it to false`},
		{float8 + " --quantize.linear.float8.scaling_type_weight=delayed --quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", 1,
			`needs scaling_type_weight "dynamic", found "delayed"`},
		{float8 + " --quantize.linear.float8.scaling_type_input=delayed --quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", 1, ""},

		{"--training.dataset=tokens", 1, `training.dataset_path = "": training.dataset = "tokens" needs the path of a file or folder`},
		{"--training.dataset=text --training.dataset_path=DIR/nosuch", 1, "no such file or directory"},
		{"--training.dataset=text --training.dataset_path=DIR", 1, ""},
		{"--training.dataset=tokens --training.dataset_path=DIR/a.u16", 1, ""},
		{"--training.dataset=tokens --training.dataset_path=DIR/a.txt", 1, "dataset tokens reads .u16 (uint16) and .u32 (uint32) files"},
		{"--training.dataset=jsonl", 1, `training.dataset_path = "": training.dataset = "jsonl" needs the path of a file or folder`},
		{"--training.dataset=parquet --training.dataset_path=DIR --training.dataset_field=body", 1, ""},
		{"--training.dataset=text --training.dataset_path=DIR --training.dataset_field=body", 1, `training.dataset_field = "body": has no effect on dataset text: only [jsonl parquet] has it`},
		{"--training.dataset=jsonl --training.dataset_path=DIR --training.dataset_field=", 1, `training.dataset_field = "": name the field`},
		{"--training.dataset=jsonl --training.dataset_path=DIR --training.dataset_skip_broken", 1, ""},
		{"--training.dataset=parquet --training.dataset_path=DIR --training.dataset_skip_broken", 1, "training.dataset_skip_broken = true: has no effect on dataset parquet"},
		{"--validation.enable --validation.dataset=jsonl --validation.dataset_path=DIR --training.dataset_skip_broken", 1, ""},
		{"--training.dataset_cache=DIR/a.txt", 1, "a.txt\": is a file; name a folder"},
		{"--training.dataset_cache=DIR/nosuch", 1, ""},
		{"--model.hf_assets_path=DIR", 1, ""},
		{"--model.hf_assets_path=DIR/nosuch", 1, "no such file or directory"},
		{"--model.hf_assets_path=DIR/a.txt", 1, "must be the folder of a Hugging Face model"},
		{"--validation.fraction=0.1", 1, "validation.fraction = 0.1: has no effect without validation.enable"},
		{"--validation.enable --validation.fraction=0.1", 1, `training.dataset = "gosource" has no documents that could be kept`},
		{"--validation.enable --validation.fraction=0.6", 1, "validation.fraction = 0.6: must be"},
		{"--validation.enable --validation.fraction=0.1 --training.dataset=text --training.dataset_path=DIR", 1, ""},
		{"--validation.enable --validation.fraction=0.1 --training.dataset=jsonl --training.dataset_path=DIR --validation.dataset_path=DIR", 1, "validation.dataset_path = "},
		{"--validation.dataset=text", 1, ""},
		{"--validation.dataset=text --validation.enable", 1, "validation.dataset_path"},
		{"--checkpoint.initial_load_path=DIR/nosuch", 1, "checkpoint.initial_load_path"},
		{"--checkpoint.initial_load_path=DIR/a.txt", 1, "must be a .safetensors file, a folder of them, or a checkpoint's folder"},
		{"--checkpoint.no_initial_load_model_only", 1, "checkpoint.initial_load_model_only = false: there is no checkpoint.initial_load_path to go on from"},
		{"--checkpoint.no_initial_load_model_only --checkpoint.initial_load_path=DIR", 1, ""},
		{"--checkpoint.enable --checkpoint.folder=../x", 1, `checkpoint.folder = "../x": must be a path inside job.dump_folder`},
		{"--checkpoint.enable --checkpoint.folder=", 1, `checkpoint.folder = "": must be a path inside job.dump_folder`},
		{"--checkpoint.folder=../x", 1, ""},
		{"--checkpoint.enable --checkpoint.keep_latest_k=1", 1, "checkpoint.keep_latest_k = 1: must be 0 or from 2 to 1000000000"},
		{"--checkpoint.enable --checkpoint.keep_latest_k=0", 1, ""},
		{"--checkpoint.enable --checkpoint.interval=0", 1, "checkpoint.interval = 0: must be from 1 to 1000000000"},
		{"--checkpoint.enable --checkpoint.async_mode=later", 1, `checkpoint.async_mode = "later": must be one of disabled, async, async_with_pinned_mem`},
		{"--checkpoint.enable --checkpoint.export_dtype=bfloat16", 1, ""},
		{"--checkpoint.enable --checkpoint.export_dtype=bfloat16 --checkpoint.no_last_save_model_only --checkpoint.last_save_in_hf", 1, ""},
		{"--checkpoint.enable --checkpoint.export_dtype=bfloat16 --checkpoint.no_last_save_model_only", 1, `checkpoint.export_dtype = "bfloat16": is the type of weights that are saved alone`},
		{"--checkpoint.enable --checkpoint.create_seed_checkpoint --checkpoint.load_only", 1, "checkpoint.load_only = true: saves nothing, but checkpoint.create_seed_checkpoint asks for it"},
		{"--checkpoint.enable --checkpoint.exclude_from_loading=optimizer,weights", 1, `checkpoint.exclude_from_loading = "optimizer,weights": must be one of model, optimizer, lr_scheduler, dataloader, train_state`},
		{"--checkpoint.initial_load_path=DIR", 1, ""},
		{"--checkpoint.initial_load_path=DIR --checkpoint.initial_load_in_hf", 1, ""},
		{"--checkpoint.initial_load_path=DIR/a.txt --checkpoint.initial_load_in_hf", 1, "is a file, but checkpoint.initial_load_in_hf wants the folder of a Hugging Face model"},
		{"--checkpoint.initial_load_in_hf", 1, "checkpoint.initial_load_in_hf = true: needs the folder of a Hugging Face model: set model.hf_assets_path or checkpoint.initial_load_path"},
		{"--checkpoint.initial_load_in_hf --model.hf_assets_path=DIR", 1, ""},
		{"--model.flavor=hf", 1, `model.flavor = "hf": needs model.hf_assets_path, a folder with a config.json`},
		{"--model.flavor=hf --model.hf_assets_path=DIR", 1, ""},
		{"--job.dump_folder=DIR/a.txt", 1, "is a file; name a folder"},
		{"--job.dump_folder=DIR --job.save_config_file=folder", 1, `job.save_config_file = "folder": is a folder in job.dump_folder; name a file`},
		{"--job.dump_folder=DIR --job.save_config_file=a.txt/x", 1, `job.save_config_file = "a.txt/x": not a directory`},
		{"--job.dump_folder=DIR --job.save_config_file=new/x", 1, ""},
		{"--metrics.enable_tensorboard --job.dump_folder=DIR --metrics.save_tb_folder=folder", 1, ""},
		{"--metrics.enable_tensorboard --job.dump_folder=DIR --metrics.save_tb_folder=a.txt", 1, `metrics.save_tb_folder = "a.txt": is a file in job.dump_folder; name a folder`},
		{"--metrics.enable_tensorboard --metrics.save_tb_folder=../x", 1, `metrics.save_tb_folder = "../x": must be a path inside job.dump_folder`},
		{"--metrics.enable_tensorboard --metrics.save_tb_folder=", 1, `metrics.save_tb_folder = "": must be a path inside job.dump_folder`},
		{"--metrics.enable_tensorboard --metrics.save_tb_folder=./", 1, "must be a path inside job.dump_folder"},
		{"--job.save_config_file=../x", 1, "must be a path inside job.dump_folder"},
		{"--profiling.enable_profiling --profiling.profiler_active=10", 1, ""},
		{"--profiling.enable_profiling --profiling.profiler_active=11", 1, "profiling.profiler_active = 11: must be at most profiling.profile_freq, 10"},
		{"--profiling.enable_profiling --profiling.save_traces_folder=../x", 1, `profiling.save_traces_folder = "../x": must be a path inside job.dump_folder`},
		{"--device.cuda_graph --device.name=cuda", 1, ""},
		{"--device.cuda_graph", 1, `device.cuda_graph = true: device.name = "cpu" has no CUDA graphs; use device.name = "cuda", or false`},
		{"--device.cuda_graph --device.name=cuda --debug.detect_anomaly", 1, "device.cuda_graph = true: debug.detect_anomaly looks at each step by itself; use false while you look for one"},
		{"--device.cuda_graph --device.name=cuda", 2, "device.cuda_graph = true: the collectives of 2 ranks are not captured yet; use false, or one rank"},
		{"--profiling.enable_profiling --device.name=cuda", 1, `profiling.enable_profiling = true: the streams of device.name = "cuda" have no times: leave it out`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"a.txt", "a.u16"} {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "folder"), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "comma.toml"), []byte("[model]\nconverters = [\"quantize.linear.float8,\"]\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(strings.Fields(strings.ReplaceAll(tt.args, "DIR", dir)))
			if err != nil {
				t.Fatal(err)
			}
			err = c.Validate(tt.world)
			if tt.want == "" {
				if err != nil {
					t.Errorf("world size %d: %v", tt.world, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("world size %d: got\n\t%v\nwant\n\t%s", tt.world, err, tt.want)
			}
		})
	}
}

// TestADegreeOutOfRangeIsOneProblem: what it multiplies to is not another.
func TestADegreeOutOfRangeIsOneProblem(t *testing.T) {
	for _, degree := range []string{"data_parallel_shard_degree=0", "data_parallel_shard_degree=-2", "tensor_parallel_degree=0"} {
		c, err := config.Load([]string{"--parallelism." + degree})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(2); err == nil || strings.Contains(err.Error(), "problems") {
			t.Errorf("%s: %v", degree, err)
		}
	}
}

func TestValidateReportsAllProblemsWithTheirPlaces(t *testing.T) {
	path := write(t, "[training]\nsteps = 0\n[optimizer]\nlr = -1\n")
	c, err := config.Load([]string{"--config", path, "--debug.seed=-1"})
	if err != nil {
		t.Fatal(err)
	}
	want := "3 problems:\n\t" + path + ":4: optimizer.lr = -1: must be from 0 to 1000000\n\t" +
		path + ":2: training.steps = 0: must be from 1 to 1000000000\n\t" +
		"command line: debug.seed = -1: must be from 0 to 9.223372036854776e+18"
	if err := c.Validate(1); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestDerivedNumbers(t *testing.T) {
	c, err := config.Load([]string{"--training.local_batch_size=4", "--training.global_batch_size=24", "--training.steps=9"})
	if err != nil {
		t.Fatal(err)
	}
	type numbers struct{ shard, data, global, micro, total int }
	got := numbers{c.ShardDegree(3), c.DataRanks(3), c.GlobalBatchSize(3), c.Microbatches(3), c.TotalSteps()}
	if want := (numbers{3, 3, 24, 2, 9}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	c.Parallelism.DataParallelReplicateDegree = 2
	got = numbers{c.ShardDegree(4), c.DataRanks(4), c.GlobalBatchSize(4), c.Microbatches(6), c.TotalSteps()}
	if want := (numbers{2, 4, 24, 1, 9}); got != want {
		t.Errorf("replicated: got %+v, want %+v", got, want)
	}
	c.Parallelism.DataParallelReplicateDegree = 1
	total := 5
	c.Training.GlobalBatchSize, c.Parallelism.DataParallelShardDegree, c.LRScheduler.TotalSteps = -1, 2, &total
	got = numbers{c.ShardDegree(2), c.DataRanks(2), c.GlobalBatchSize(2), c.Microbatches(2), c.TotalSteps()}
	if want := (numbers{2, 2, 8, 1, 5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The command line of the golden runs, which tests and users depend on.
func TestGoldenCommandLineIsValid(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"llama_tokens.u16", "llama_init.safetensors"} {
		if err := os.WriteFile(name, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(strings.Fields(`--model.flavor=debugmodel --model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4
		--model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192 --model.args.vocab_size=256 --model.args.use_scaled_rope=false
		--training.dataset=tokens --training.dataset_path=llama_tokens.u16 --training.local_batch_size=4 --training.seq_len=64 --training.steps=20
		--training.mixed_precision_param=float32 --optimizer.lr=3e-3 --lr_scheduler.warmup_steps=0 --lr_scheduler.min_lr_factor=1
		--checkpoint.initial_load_path=llama_init.safetensors --job.dump_folder=out
		--model.converters=quantize.linear.float8 --quantize.linear.float8.filter_fqns=output --quantize.linear.float8.emulate
		--quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp`))
	if err != nil {
		t.Fatal(err)
	}
	for world := 1; world <= 4; world++ {
		if err := c.Validate(world); err != nil {
			t.Error(err)
		}
	}
	if len(c.Notes) > 0 {
		t.Errorf("%q", c.Notes)
	}
}

// TestADegreeThatIsNoneIsToldOnce: what it would do to the world size is no second problem.
func TestADegreeThatIsNoneIsToldOnce(t *testing.T) {
	for _, key := range []string{"data_parallel_replicate_degree", "tensor_parallel_degree", "context_parallel_degree", "pipeline_parallel_degree"} {
		for _, value := range []string{"0", "-2"} {
			c, err := config.Load([]string{"--parallelism." + key + "=" + value})
			if err == nil {
				err = c.Validate(4)
			}
			if err == nil || !strings.Contains(err.Error(), key+" = "+value) || strings.Contains(err.Error(), "world size") {
				t.Errorf("%s = %s: %v, want it told once", key, value, err)
			}
		}
	}
}
