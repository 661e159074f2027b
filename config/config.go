// SPDX-License-Identifier: Apache-2.0

// Package config holds everything a training run can be told: one struct tree, with torchtitan's section and field
// names (its last version with TOML files), read from a TOML file and from flags.
//
// The command line wins over the file, the file over the defaults. A field is declared once, in config.go: its Go
// type, its key, its default, its legal values and its documentation stand in one struct tag, and reading, checking,
// `octet train --help` and the printed configuration are all made from that tag. What is not declared there is
// refused with the nearest known name. What torchtitan has beside that is a table, torchtitan.go: a key that would change
// numbers, layout or files is refused by name unless it asks for what octet does anyway, and one that has no effect here is
// told once. Nothing that a user writes is ignored.
//
// Load reads a command line, Default is where a test starts that wants a Config to change, and Validate comes before any
// rank starts. After it a Config is read-only and may be shared by any number of goroutines.
package config

// Config is one training run. The tags of its fields are the only declaration of each key:
//
//	toml     the key, as torchtitan spells it
//	default  the default value, as it would be typed after the flag; empty is the zero value, or unset for a pointer
//	help     the documentation
//	enum     the legal values (of each element, for a list)
//	in       the legal interval, such as [0,1) or [1,inf)
//	or       one more legal number, outside the interval
//	later    the feature that a value other than the default asks for, and that octet does not have yet
//	host     set where hosts of a job may differ: paths
//	when     the bool key without which this one has no effect, or key=value, or key>number
//	now      the values besides the default that `later` does not cover
//
// A pointer field is optional: nil means that it was not set.
type Config struct {
	Job                  Job                  `toml:"job" help:"what this run is called and where its output goes"`
	Device               Device               `toml:"device" help:"what computes"`
	Model                Model                `toml:"model" help:"what is trained"`
	Optimizer            Optimizer            `toml:"optimizer" help:"how weights move"`
	LRScheduler          LRScheduler          `toml:"lr_scheduler" help:"warmup, stable, decay: the learning rate's factor over the steps"`
	Training             Training             `toml:"training" help:"data, batch, length and number formats"`
	Parallelism          Parallelism          `toml:"parallelism" help:"how ranks share the work; the product of all degrees is the world size"`
	ActivationCheckpoint ActivationCheckpoint `toml:"activation_checkpoint" help:"what backward computes again instead of keeping it: less memory, more time, the same bits"`
	Checkpoint           Checkpoint           `toml:"checkpoint" help:"where weights come from and go to"`
	Quantize             Quantize             `toml:"quantize"`
	Validation           Validation           `toml:"validation" help:"loss on text that is not trained on"`
	Metrics              Metrics              `toml:"metrics" help:"what is reported, and how often"`
	Profiling            Profiling            `toml:"profiling" help:"what the time of a step goes to"`
	Comm                 Comm                 `toml:"comm" help:"deadlines of the collectives"`
	Debug                Debug                `toml:"debug" help:"seed and explanations"`

	// Notes are remarks on a legal configuration (an alias was used, a value was cut, a key has no effect), for the log.
	Notes []string `toml:"-"`

	origin map[string]string // field name → where it was set: "file:line" or "command line"
	file   *File             // nil: none
}

// Job is the [job] section.
type Job struct {
	ConfigFile     string `toml:"config_file,omitempty" help:"TOML file to read; --config is the same"`
	DumpFolder     string `toml:"dump_folder" host:"path" default:"./outputs" help:"root of everything the run writes"`
	Description    string `toml:"description" default:"default job" help:"printed in the first line of the log"`
	PrintConfig    bool   `toml:"print_config" help:"log the merged configuration as TOML"`
	SaveConfigFile string `toml:"save_config_file" help:"file name in dump_folder for the merged configuration as TOML; none if empty"`
}

// Device is the [device] section (octet's own).
type Device struct {
	Name      string `toml:"name" default:"cpu" enum:"cpu,cuda" help:"device that holds the tensors and runs the kernels"`
	CUDAGraph bool   `toml:"cuda_graph" help:"from the third step on launch forward and backward as one CUDA graph, to the same bits: the host is through with a step sooner; on one GPU"`
}

// Model is the [model] section.
type Model struct {
	Name                 string    `toml:"name" default:"llama3" enum:"llama3" help:"model family"`
	Flavor               string    `toml:"flavor" default:"debugmodel" enum:"debugmodel,1B,3B,8B,70B,405B,hf" help:"preset of sizes within the family; hf: those of the config.json in hf_assets_path"`
	HFAssetsPath         string    `toml:"hf_assets_path" host:"path" help:"folder of a Hugging Face model: its tokenizer.json makes the ids of text; without it they are bytes"`
	Converters           []string  `toml:"converters" enum:"quantize.linear.float8" help:"changes made to the model before it is sharded"`
	PrintAfterConversion bool      `toml:"print_after_conversion" help:"log each linear layer, its shape and how it computes, after all converters"`
	Args                 ModelArgs `toml:"args" help:"single values that replace the flavor's"`
}

// ModelArgs is the [model.args] section (octet's own): an unset field keeps the flavor's value.
type ModelArgs struct {
	Dim                   *int     `toml:"dim" in:"[1,131072]" help:"width of the residual stream"`
	NLayers               *int     `toml:"n_layers" in:"[1,4096]" help:"transformer blocks"`
	NHeads                *int     `toml:"n_heads" in:"[1,131072]" help:"query heads; head size is dim / n_heads, or head_dim"`
	NKVHeads              *int     `toml:"n_kv_heads" in:"[1,131072]" help:"key and value heads; divides n_heads"`
	HeadDim               *int     `toml:"head_dim" in:"[2,131072]" help:"size of one head, where it is not dim / n_heads"`
	VocabSize             *int     `toml:"vocab_size" in:"[1,16777216]" help:"rows of the embedding and of the output"`
	FFNHiddenDim          *int     `toml:"ffn_hidden_dim" in:"[1,1048576]" help:"width of the feed-forward, given outright instead of by the two below"`
	MultipleOf            *int     `toml:"multiple_of" in:"[1,1048576]" help:"the feed-forward's width is rounded up to a multiple of this"`
	FFNDimMultiplier      *float64 `toml:"ffn_dim_multiplier" in:"(0,100]" help:"factor on the feed-forward's 8/3 * dim"`
	NormEps               *float64 `toml:"norm_eps" in:"(0,1]" help:"epsilon of RMSNorm"`
	RopeTheta             *float64 `toml:"rope_theta" in:"(0,1e15]" help:"base of the rotary frequencies"`
	UseScaledRope         *bool    `toml:"use_scaled_rope" help:"Llama 3.1's scaling of the low rotary frequencies"`
	RopeFactor            *float64 `toml:"rope_factor" in:"[1,1e6]" help:"the scaling divides frequencies below its range by this"`
	RopeLowFreqFactor     *float64 `toml:"rope_low_freq_factor" in:"(0,1e6]" help:"its range begins at so many turns within rope_original_max_seq_len"`
	RopeHighFreqFactor    *float64 `toml:"rope_high_freq_factor" in:"(0,1e6]" help:"and ends at so many"`
	RopeOriginalMaxSeqLen *int     `toml:"rope_original_max_seq_len" in:"[1,1e9]" help:"the length that the model was first trained for"`
	MaxSeqLen             *int     `toml:"max_seq_len" in:"[1,1e9]" help:"longest sequence the rotary table serves"`
	EnableWeightTying     *bool    `toml:"enable_weight_tying" help:"output shares the embedding's weight"`
}

// Optimizer is the [optimizer] section.
type Optimizer struct {
	Name        string  `toml:"name" default:"AdamW" enum:"AdamW,Adam" help:"AdamW decays weights by lr*weight_decay; Adam adds the decay to the gradient"`
	LR          float64 `toml:"lr" default:"8e-4" in:"[0,1e6]" help:"peak learning rate"`
	Beta1       float64 `toml:"beta1" default:"0.9" in:"[0,1)" help:"decay of the first moment"`
	Beta2       float64 `toml:"beta2" default:"0.95" in:"[0,1)" help:"decay of the second moment"`
	Eps         float64 `toml:"eps" default:"1e-8" in:"[0,1e6]" help:"added to the root of the second moment"`
	WeightDecay float64 `toml:"weight_decay" default:"0.1" in:"[0,1e6]" help:"applies to all parameters, norms and embeddings too"`
}

// LRScheduler is the [lr_scheduler] section.
type LRScheduler struct {
	WarmupSteps int      `toml:"warmup_steps" default:"200" in:"[0,1e9]" help:"steps of linear warmup; cut to the total with a note"`
	TotalSteps  *int     `toml:"total_steps" in:"[1,1e9]" help:"length of the curve; training.steps when unset"`
	DecayRatio  *float64 `toml:"decay_ratio" in:"[0,1]" help:"the last part of the total decays; unset: all that follows the warmup"`
	DecayType   string   `toml:"decay_type" default:"linear" enum:"linear,sqrt,cosine" help:"shape of the decay"`
	MinLRFactor float64  `toml:"min_lr_factor" default:"0" in:"[0,1]" help:"the decay ends at this part of the peak"`
}

// Training is the [training] section.
type Training struct {
	Dataset             string  `toml:"dataset" default:"gosource" enum:"gosource,text,jsonl,parquet,tokens" help:"gosource: the .go files of GOROOT; text: a file or folder; jsonl: objects with a text, .gz and .zst too; parquet: rows with a text; tokens: raw ids, uint16 (.u16) or uint32 (.u32)"`
	DatasetPath         string  `toml:"dataset_path" host:"path" help:"file or folder of the dataset; gosource finds its own"`
	DatasetField        string  `toml:"dataset_field" default:"text" help:"field of jsonl and parquet that is the text, of validation data too"`
	DatasetSkipBroken   bool    `toml:"dataset_skip_broken" help:"leave out lines of jsonl without a text, and count them; otherwise the first is an error"`
	DatasetCache        string  `toml:"dataset_cache" host:"path" help:"folder of the ids that documents became; empty: octet in the user's cache folder"`
	LocalBatchSize      int     `toml:"local_batch_size" default:"8" in:"[1,1048576]" help:"sequences per rank and microbatch"`
	GlobalBatchSize     int     `toml:"global_batch_size" default:"-1" in:"[1,16777216]" or:"-1" help:"sequences per step on all ranks; -1: local_batch_size times the data ranks, no accumulation"`
	SeqLen              int     `toml:"seq_len" default:"2048" in:"[1,1048576]" help:"tokens per sequence"`
	Steps               int     `toml:"steps" default:"10000" in:"[1,1e9]" help:"optimizer steps"`
	MaxNorm             float64 `toml:"max_norm" default:"1.0" in:"(0,inf]" help:"gradients are scaled down to this global L2 norm; inf: never"`
	MixedPrecisionParam string  `toml:"mixed_precision_param" default:"bfloat16" enum:"bfloat16,float32" help:"type of gathered parameters and of activations"`
}

// Parallelism is the [parallelism] section.
type Parallelism struct {
	DataParallelReplicateDegree int    `toml:"data_parallel_replicate_degree" default:"1" in:"[1,1048576]" help:"copies of the sharded model (HSDP; with a shard degree of 1, DDP)"`
	DataParallelShardDegree     int    `toml:"data_parallel_shard_degree" default:"-1" in:"[1,1048576]" or:"-1" help:"ranks that share one copy (FSDP); -1: the ranks left over by the other degrees"`
	FSDPReshardAfterForward     string `toml:"fsdp_reshard_after_forward" default:"default" enum:"default,always,never" help:"free gathered weights after forward; default: all but the last unit"`
	TensorParallelDegree        int    `toml:"tensor_parallel_degree" default:"1" in:"[1,1048576]" help:"ranks that share each layer and the same data (TP)"`
	EnableSequenceParallel      bool   `toml:"enable_sequence_parallel" when:"parallelism.tensor_parallel_degree>1" default:"true" help:"between the layers that ranks share each has some of the tokens, not all (SP)"`
	DisableLossParallel         bool   `toml:"disable_loss_parallel" when:"parallelism.tensor_parallel_degree>1" help:"gather the logits for the loss, which otherwise each rank takes of its part of the vocabulary"`
	EnableAsyncTensorParallel   bool   `toml:"enable_async_tensor_parallel" when:"parallelism.tensor_parallel_degree>1" help:"send rows of activations while others are multiplied, to the same bits"`
	PipelineParallelDegree      int    `toml:"pipeline_parallel_degree" default:"1" later:"pipeline parallelism" help:"stages of the pipeline"`
	ContextParallelDegree       int    `toml:"context_parallel_degree" default:"1" later:"context parallelism" help:"ranks that share each sequence"`
}

// ActivationCheckpoint is the [activation_checkpoint] section.
type ActivationCheckpoint struct {
	Mode              string `toml:"mode" default:"none" enum:"none,selective,full" help:"blocks whose forward runs again in backward: none, some, all; torchtitan's default is selective"`
	SelectiveACOption string `toml:"selective_ac_option" when:"activation_checkpoint.mode=selective" default:"2" help:"n: every n-th block; op: in all blocks all but attention and every second linear layer"`
}

// Checkpoint is the [checkpoint] section. Initial weights load whether or not saving is enabled.
type Checkpoint struct {
	Enable                    bool     `toml:"enable" help:"save checkpoints, and go on from the newest one in the folder"`
	Folder                    string   `toml:"folder" when:"checkpoint.enable" default:"checkpoint" help:"folder in dump_folder; all hosts have to see it"`
	Interval                  int      `toml:"interval" when:"checkpoint.enable" default:"500" in:"[1,1e9]" help:"steps between checkpoints; the last step is saved too, and the one after which a signal ends the run"`
	LoadStep                  int      `toml:"load_step" when:"checkpoint.enable" default:"-1" in:"[0,1e9]" or:"-1" help:"step of the folder's checkpoint to go on from; -1: the newest"`
	InitialLoadPath           string   `toml:"initial_load_path" host:"path" help:"initial weights: a .safetensors file or a folder of them, with torchtitan's tensor names, or a checkpoint's folder (step-N)"`
	InitialLoadInHF           bool     `toml:"initial_load_in_hf" help:"initial weights are a Hugging Face model's, in the folder initial_load_path or else in model.hf_assets_path"`
	InitialLoadModelOnly      bool     `toml:"initial_load_model_only" default:"true" help:"of the checkpoint at initial_load_path load the weights alone, and begin; false: go on from it"`
	LastSaveModelOnly         bool     `toml:"last_save_model_only" when:"checkpoint.enable" default:"true" help:"save only the weights after the last step: no run goes on from them"`
	ExportDType               string   `toml:"export_dtype" when:"checkpoint.enable" default:"float32" enum:"float32,float16,bfloat16" help:"type of the weights that last_save_model_only and last_save_in_hf save"`
	LastSaveInHF              bool     `toml:"last_save_in_hf" when:"checkpoint.enable" help:"write the weights after the last step for Hugging Face's transformers too, in export_dtype: folder step-N-hf"`
	AsyncMode                 string   `toml:"async_mode" when:"checkpoint.enable" default:"disabled" enum:"disabled,async,async_with_pinned_mem" help:"disabled: the run waits for a save; async: it waits for a copy in memory, which is written beside the next steps"`
	KeepLatestK               int      `toml:"keep_latest_k" when:"checkpoint.enable" default:"10" in:"[2,1e9]" or:"0" help:"so many of the newest checkpoints stay; 0: all"`
	ExcludeFromLoading        []string `toml:"exclude_from_loading" enum:"model,optimizer,lr_scheduler,dataloader,train_state" help:"parts of a checkpoint that are not loaded, and begin anew"`
	EnableFirstStepCheckpoint bool     `toml:"enable_first_step_checkpoint" when:"checkpoint.enable" help:"save after step 1 too, to see early that saving works"`
	CreateSeedCheckpoint      bool     `toml:"create_seed_checkpoint" when:"checkpoint.enable" help:"save the first weights as step 0, and end"`
	LoadOnly                  bool     `toml:"load_only" when:"checkpoint.enable" help:"go on from a checkpoint, but save none"`
}

// Quantize is the [quantize] table, Linear its [quantize.linear].
type Quantize struct {
	Linear Linear `toml:"linear"`
}

// Linear holds one section per converter of linear layers.
type Linear struct {
	Float8 Float8 `toml:"float8" help:"float8 training; needs quantize.linear.float8 in model.converters"`
}

// Float8 is the [quantize.linear.float8] section.
type Float8 struct {
	EnableFSDPFloat8AllGather           bool     `toml:"enable_fsdp_float8_all_gather" help:"weights travel between ranks as float8"`
	PrecomputeFloat8DynamicScaleForFSDP bool     `toml:"precompute_float8_dynamic_scale_for_fsdp" help:"one all-reduce per step for the scales of all weights"`
	RecipeName                          string   `toml:"recipe_name" enum:"tensorwise,rowwise,rowwise_with_gw_hp,delayed" help:"how all operands are cast; empty: tensorwise, with scales as scaling_type_* say"`
	ScalingTypeInput                    string   `toml:"scaling_type_input" default:"dynamic" enum:"dynamic,delayed" help:"the scale of inputs: dynamic is of the tensor itself, delayed of those in the same place in the steps before"`
	ScalingTypeWeight                   string   `toml:"scaling_type_weight" default:"dynamic" enum:"dynamic,delayed" help:"the scale of weights"`
	ScalingTypeGradOutput               string   `toml:"scaling_type_grad_output" default:"dynamic" enum:"dynamic,delayed" help:"the scale of gradients of outputs"`
	HistoryLen                          int      `toml:"history_len" default:"16" in:"[1,65536]" help:"steps whose largest amax a delayed scale is made of; 16 is usual"`
	EnableAmaxInit                      bool     `toml:"enable_amax_init" default:"true" help:"the first delayed scale is that of the first value, of all ranks; otherwise 1"`
	RoundScalesToPowerOf2               *bool    `toml:"round_scales_to_power_of_2" help:"round scales down to a power of two; unset: as the recipe does, which row-wise ones do"`
	PadInnerDim                         bool     `toml:"pad_inner_dim" help:"pad tokens with zeros to a multiple of 16 where float8 products sum over them"`
	FastAccum                           []string `toml:"fast_accum" default:"output" enum:"output,grad_input,grad_weight" help:"products of a linear layer that may sum in less than float32, where the device is faster so: of a CPU, with AVX512-FP16 and without AMX; empty: none"`
	FilterFQNs                          []string `toml:"filter_fqns" default:"output" help:"a linear layer whose name contains one of these stays as it is, and with auto_filter_small_kn one that is too small to gain; torchtitan's default is empty"`
	Emulate                             bool     `toml:"emulate" help:"cast to float8 and multiply in float32"`
}

// Validation is the [validation] section.
type Validation struct {
	Enable         bool    `toml:"enable" help:"measure the loss on validation data at step 1 and every freq steps"`
	Dataset        string  `toml:"dataset" when:"validation.enable" default:"gosource" enum:"gosource,text,jsonl,parquet,tokens" help:"gosource: the one file in a hundred that training leaves out; others as training.dataset"`
	DatasetPath    string  `toml:"dataset_path" when:"validation.enable" host:"path" help:"file or folder of the dataset"`
	Fraction       float64 `toml:"fraction" default:"0" in:"[0,0.5]" help:"this part of training's documents is kept for validation, instead of a dataset of its own; of text, of its files"`
	LocalBatchSize int     `toml:"local_batch_size" when:"validation.enable" default:"8" in:"[1,1048576]" help:"sequences per rank"`
	SeqLen         int     `toml:"seq_len" when:"validation.enable" default:"2048" in:"[1,1048576]" help:"tokens per sequence"`
	Freq           int     `toml:"freq" when:"validation.enable" default:"10" in:"[1,1e9]" help:"steps between validations"`
	Steps          int     `toml:"steps" when:"validation.enable" default:"-1" in:"[1,1e9]" or:"-1" help:"batches per validation; -1: all the data"`
}

// Metrics is the [metrics] section.
type Metrics struct {
	LogFreq              int    `toml:"log_freq" default:"10" in:"[1,1e9]" help:"steps between lines on the console, and between points in TensorBoard; metrics.jsonl has every step"`
	EnableTensorBoard    bool   `toml:"enable_tensorboard" help:"write event files for TensorBoard"`
	SaveTBFolder         string `toml:"save_tb_folder" when:"metrics.enable_tensorboard" default:"tb" help:"folder in job.dump_folder for the event files"`
	DisableColorPrinting bool   `toml:"disable_color_printing" help:"no colours, even on a terminal"`
}

// Profiling is the [profiling] section.
type Profiling struct {
	EnableProfiling  bool   `toml:"enable_profiling" help:"write traces of steps for Perfetto: kernels, collectives and waits of each stream; on the CPU"`
	SaveTracesFolder string `toml:"save_traces_folder" when:"profiling.enable_profiling" default:"profile_traces" help:"folder in job.dump_folder for iteration_<step>/rank<rank>_trace.json"`
	ProfileFreq      int    `toml:"profile_freq" when:"profiling.enable_profiling" default:"10" in:"[1,1e9]" help:"steps from one trace to the next"`
	ProfilerActive   int    `toml:"profiler_active" when:"profiling.enable_profiling" default:"1" in:"[1,1e9]" help:"steps of a trace, the last of profile_freq"`
}

// Comm is the [comm] section.
type Comm struct {
	InitTimeoutSeconds  int `toml:"init_timeout_seconds" default:"300" in:"[1,1e6]" help:"deadline of a collective until the first step is done"`
	TrainTimeoutSeconds int `toml:"train_timeout_seconds" default:"100" in:"[1,1e6]" help:"deadline of a collective after the first step"`

	Insecure bool `toml:"insecure" help:"without OCTET_JOB_TOKEN let anyone be a rank who reaches the others; octet run gives its ranks a token"`
}

// Debug is the [debug] section.
type Debug struct {
	Seed      int  `toml:"seed" default:"0" in:"[0,9223372036854775807]" help:"seed of weights and data order; torchtitan draws one when unset"`
	PrintPlan bool `toml:"print_plan" help:"log what is sharded how, the bytes that each step sends, and those that a rank has in memory"`
	DryRun    bool `toml:"dry_run" help:"train nothing: build the model as each kind of rank of a job of as many ranks as the degrees multiply to, on no device; print the memory that a rank takes and what it sends in a step, and end"`

	Float8Stats   bool `toml:"float8_stats" help:"write to float8_stats.jsonl, at step 1 and every metrics.log_freq steps, what casts to float8 did to each operand of each layer: amax, scales, parts saturated and underflowed, SQNR; on the CPU such a step takes about twice as long, others no longer"`
	DetectAnomaly bool `toml:"detect_anomaly" help:"name the first tensor of a step with a NaN or an infinity: a module's input or output, a weight, a gradient; reads each once more"`
}
