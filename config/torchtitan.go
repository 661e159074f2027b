// SPDX-License-Identifier: Apache-2.0

package config

// foreign is a key of torchtitan's that octet does not have, or a table of such keys with all that is below it.
//
// Where torchtitan would compute something else, lay it out otherwise or write other files because of the key, it is
// refused: the run would not be the one that was asked for. Where the key only tunes, or belongs to a feature that is
// off, the run is the same without it, and the log tells once that it has no effect.
type foreign struct {
	name   string
	same   string // the value that asks for what octet does anyway, as it would be typed after the flag
	fate   fate
	advice string // why, and what to write instead
}

type fate int

const (
	refused fate = iota
	told
	renamed // refused too: advice is the name of today
)

// String is "refused", "no effect" or "renamed".
func (f fate) String() string { return [...]string{"refused", "no effect", "renamed"}[f] }

// foreignKeys is the table, over all versions of torchtitan that read TOML.
func foreignKeys() []foreign {
	const (
		pipeline   = "octet has no pipeline parallelism yet"
		context    = "octet has no context parallelism yet"
		experts    = "octet has no mixture of experts"
		snapshots  = "octet writes no snapshots of memory: --debug.print_plan and --debug.dry_run say what takes it"
		board      = "octet writes metrics.jsonl instead"
		recompute  = "octet recomputes with the same kernels on the same values, as activation_checkpoint.mode says"
		compiler   = "octet has no compiler: its kernels run as they are"
		flight     = "octet has no flight recorder: an error names the ranks, the collective and its number"
		loading    = "octet's loader reads in the rank itself"
		collection = "Go collects garbage beside the program"
		tolerance  = "octet restarts all ranks instead: octet run --max-restarts"
		mx         = "octet has no block formats yet"
		python     = "octet loads no Python modules"
	)
	return []foreign{
		{"job.use_for_integration_test", "false", told, "it marks torchtitan's own tests"},
		{"job.print_args", "false", renamed, "job.print_config"},
		{"job.custom_config_module", "", refused, python},
		{"experimental.custom_import", "", refused, python},
		{"experimental.custom_args_module", "", refused, python},

		{"model.tokenizer_path", "", refused, "octet reads tokenizer.json: name its folder as model.hf_assets_path"},

		{"optimizer.implementation", "fused", told, "octet always updates in one fused pass"},
		{"optimizer.early_step_in_backward", "false", refused, "octet steps after backward, because clipping needs all gradients: leave it out"},
		{"lr_scheduler.lr_min", "", renamed, "lr_scheduler.min_lr_factor"},

		{"training.batch_size", "", renamed, "training.local_batch_size"},
		{"training.seed", "", renamed, "debug.seed"},
		{"training.deterministic", "true", told, "octet's runs are always deterministic"},
		{"training.compile", "false", told, compiler},
		{"training.dtype", "float32", refused, "octet keeps parameters in float32: leave it out"},
		{"training.mixed_precision_reduce", "float32", refused, "octet reduces gradients in float32: leave it out"},
		{"training.enable_cpu_offload", "false", refused, "octet does not offload to host memory: leave it out"},
		{"training.gc_freq", "", told, collection},
		{"training.gc_debug", "false", told, collection},
		{"training.dataloader", "", told, loading},

		{"parallelism.enable_compiled_autograd", "false", told, compiler},
		{"parallelism.pipeline_parallel_schedule", "1F1B", told, pipeline},
		{"parallelism.pipeline_parallel_schedule_csv", "", told, pipeline},
		{"parallelism.pipeline_parallel_split_points", "", told, pipeline},
		{"parallelism.pipeline_parallel_layers_per_stage", "", told, pipeline},
		{"parallelism.pipeline_parallel_first_stage_less_layers", "1", told, pipeline},
		{"parallelism.pipeline_parallel_last_stage_less_layers", "1", told, pipeline},
		{"parallelism.pipeline_parallel_microbatch_size", "1", told, pipeline},
		{"parallelism.pipeline_parallel_expert_parallel_overlap", "", told, pipeline},
		{"parallelism.module_fqns_per_model_part", "", told, pipeline},
		{"parallelism.context_parallel_rotate_method", "allgather", told, context},
		{"parallelism.context_parallel_load_balancer", "headtail", told, context},
		{"parallelism.expert_parallel_degree", "1", refused, experts + ": leave it out"},
		{"parallelism.expert_tensor_parallel_degree", "1", refused, experts + ": leave it out"},
		{"parallelism.expert_parallel_comm_backend", "standard", told, experts},

		{"checkpoint.enable_checkpoint", "false", renamed, "checkpoint.enable"},
		{"checkpoint.model_weights_only", "", renamed, "checkpoint.last_save_model_only"},
		{"checkpoint.initial_load_in_hf_quantized", "false", refused, "octet reads no quantized weights: load the ones they were made of"},

		{"activation_checkpoint", "", told, recompute},
		{"activation_checkpoint.memory_budget", "0.5", told, compiler},
		{"activation_checkpoint.early_stop", "false", told, recompute},
		{"activation_checkpoint.preserve_rng_state", "true", told, recompute},
		{"activation_checkpoint.determinism_check", "default", told, recompute},
		{"activation_checkpoint.debug", "false", told, recompute},
		{"compile.enable", "false", told, compiler},
		{"compile.components", "model,loss", told, compiler},
		{"compile.backend", "inductor", told, compiler},

		{"float8", "", renamed, "quantize.linear.float8"},
		{"float8.enable_float8_linear", "", renamed, "model.converters"},
		{"quantize.linear.float8.force_recompute_fp8_weight_in_bwd", "false", told, "octet gathers or keeps weights as parallelism.fsdp_reshard_after_forward says"},
		{"quantize.linear.float8.enable_pre_and_post_forward", "true", told, "octet syncs delayed scales in every step, so that there is nothing to check"},
		{"quantize.linear.float8.reproducible_scales", "false", refused, "octet scales what is cast by rows or columns by the part that a rank has: leave it out"},
		{"quantize.linear.float8.grad_weight_dtype", "float32", refused, "octet keeps a weight's gradient in float32, as it comes out of the matmul: leave it out"},
		{"quantize.linear.float8.moe_fqns_prototype", "", told, experts},
		{"quantize.linear.mx", "", told, mx},
		{"mx", "", told, mx},
		{"quantize.grouped_mm", "", told, experts},

		{"metrics.enable_wandb", "false", refused, board + ", and octet plot draws it: leave it out"},
		{"metrics.save_for_all_ranks", "false", told, board + ", from rank 0"},
		{"profiling.enable_memory_snapshot", "false", refused, snapshots + ": leave it out"},
		{"profiling.save_memory_snapshot_folder", "memory_snapshot", told, snapshots},
		{"profiling.profiler_warmup", "3", told, "octet's clocks need no step to warm up"},
		{"profiling.experiment_name", "", told, "octet names traces by step and rank"},

		{"comm.mode", "default", refused, "octet run --nproc-per-node starts as many ranks on one host as wanted: leave it out"},
		{"comm.trace_buf_size", "20000", told, flight},
		{"comm.save_traces_folder", "comm_traces", told, flight},
		{"comm.save_traces_file_prefix", "rank_", told, flight},

		{"debug.deterministic", "true", told, "octet's runs are always deterministic"},
		{"debug.deterministic_warn_only", "false", told, "octet's runs are always deterministic"},
		{"debug.moe_force_load_balance", "false", told, experts},
		{"debug.enable_structured_logging", "false", told, board},

		{"validation.enabled", "false", renamed, "validation.enable"},
		{"memory_estimation.enable", "false", refused, "octet train checks the memory before it starts: leave it out"},
		{"memory_estimation.enabled", "false", refused, "octet train checks the memory before it starts: leave it out"},
		{"memory_estimation.disable_fake_mode", "false", told, "octet train checks the memory before it starts"},
		{"fault_tolerance.enable", "false", refused, tolerance + "; leave it out"},
		{"fault_tolerance", "", told, tolerance},
	}
}
