// SPDX-License-Identifier: Apache-2.0

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
	Checkpoint           Checkpoint           `toml:"checkpoint" help:"where weights come from and go to"`
	ActivationCheckpoint ActivationCheckpoint `toml:"activation_checkpoint" help:"recomputing activations in backward to save memory"`
	Quantize             Quantize             `toml:"quantize"`
	Compile              Compile              `toml:"compile" help:"compiling the model before it runs"`
	Validation           Validation           `toml:"validation" help:"loss on text that is not trained on"`
	Metrics              Metrics              `toml:"metrics" help:"what is reported, and how often"`
	Profiling            Profiling            `toml:"profiling" help:"traces of time and memory"`
	Comm                 Comm                 `toml:"comm" help:"deadlines of the collectives"`
	Debug                Debug                `toml:"debug" help:"seed and explanations"`

	// Notes are remarks on a legal configuration (an alias was used, a value was cut), for the log.
	Notes []string `toml:"-"`

	origin map[string]string // field name → where it was set: "file:line" or "command line"
}

// Job is the [job] section.
type Job struct {
	ConfigFile     string `toml:"config_file,omitempty" help:"TOML file to read; --config is the same"`
	DumpFolder     string `toml:"dump_folder" default:"./outputs" help:"root of everything the run writes"`
	Description    string `toml:"description" default:"default job" help:"printed in the first line of the log"`
	PrintConfig    bool   `toml:"print_config" help:"log the merged configuration as TOML"`
	SaveConfigFile string `toml:"save_config_file" help:"file name in dump_folder for the merged configuration as TOML; none if empty"`
}

// Device is the [device] section (octet's own).
type Device struct {
	Name string `toml:"name" default:"cpu" enum:"cpu" help:"device that holds the tensors and runs the kernels"`
}

// Model is the [model] section.
type Model struct {
	Name                 string    `toml:"name" default:"llama3" enum:"llama3" help:"model family"`
	Flavor               string    `toml:"flavor" default:"debugmodel" enum:"debugmodel,1B,3B,8B,70B,405B" help:"preset of sizes within the family"`
	HFAssetsPath         string    `toml:"hf_assets_path" later:"a Hugging Face tokenizer" help:"folder with tokenizer.json; empty: the byte tokenizer, 256 bytes and a few specials"`
	Converters           []string  `toml:"converters" enum:"quantize.linear.float8" help:"changes made to the model before it is sharded"`
	PrintAfterConversion bool      `toml:"print_after_conversion" help:"log each linear layer, its shape and how it computes, after all converters"`
	Args                 ModelArgs `toml:"args" help:"single values that replace the flavor's"`
}

// ModelArgs is the [model.args] section (octet's own): an unset field keeps the flavor's value.
type ModelArgs struct {
	Dim               *int     `toml:"dim" in:"[1,inf)" help:"width of the residual stream"`
	NLayers           *int     `toml:"n_layers" in:"[1,inf)" help:"transformer blocks"`
	NHeads            *int     `toml:"n_heads" in:"[1,inf)" help:"query heads; head size is dim / n_heads"`
	NKVHeads          *int     `toml:"n_kv_heads" in:"[1,inf)" help:"key and value heads; divides n_heads"`
	VocabSize         *int     `toml:"vocab_size" in:"[1,inf)" help:"rows of the embedding and of the output"`
	FFNHiddenDim      *int     `toml:"ffn_hidden_dim" in:"[1,inf)" help:"width of the feed-forward, given outright instead of by the two below"`
	MultipleOf        *int     `toml:"multiple_of" in:"[1,inf)" help:"the feed-forward's width is rounded up to a multiple of this"`
	FFNDimMultiplier  *float64 `toml:"ffn_dim_multiplier" in:"(0,inf)" help:"factor on the feed-forward's 8/3 * dim"`
	NormEps           *float64 `toml:"norm_eps" in:"(0,inf)" help:"epsilon of RMSNorm"`
	RopeTheta         *float64 `toml:"rope_theta" in:"(0,inf)" help:"base of the rotary frequencies"`
	UseScaledRope     *bool    `toml:"use_scaled_rope" help:"Llama 3.1's scaling of the low rotary frequencies"`
	MaxSeqLen         *int     `toml:"max_seq_len" in:"[1,inf)" help:"longest sequence the rotary table serves"`
	EnableWeightTying *bool    `toml:"enable_weight_tying" help:"output shares the embedding's weight"`
}

// Optimizer is the [optimizer] section.
type Optimizer struct {
	Name                string  `toml:"name" default:"AdamW" enum:"AdamW,Adam" help:"AdamW decays weights by lr*weight_decay; Adam adds the decay to the gradient"`
	LR                  float64 `toml:"lr" default:"8e-4" in:"[0,inf)" help:"peak learning rate"`
	Beta1               float64 `toml:"beta1" default:"0.9" in:"[0,1)" help:"decay of the first moment"`
	Beta2               float64 `toml:"beta2" default:"0.95" in:"[0,1)" help:"decay of the second moment"`
	Eps                 float64 `toml:"eps" default:"1e-8" in:"[0,inf)" help:"added to the root of the second moment"`
	WeightDecay         float64 `toml:"weight_decay" default:"0.1" in:"[0,inf)" help:"applies to all parameters, norms and embeddings too"`
	Implementation      string  `toml:"implementation" default:"fused" enum:"fused,foreach,for-loop" later:"another form than one fused pass" help:"how the update is computed"`
	EarlyStepInBackward bool    `toml:"early_step_in_backward" later:"the optimizer step inside backward" help:"step each parameter as its gradient arrives"`
}

// LRScheduler is the [lr_scheduler] section.
type LRScheduler struct {
	WarmupSteps int      `toml:"warmup_steps" default:"200" in:"[0,inf)" help:"steps of linear warmup; cut to the total with a note"`
	TotalSteps  *int     `toml:"total_steps" in:"[1,inf)" help:"length of the curve; training.steps when unset"`
	DecayRatio  *float64 `toml:"decay_ratio" in:"[0,1]" help:"the last part of the total decays; unset: all that follows the warmup"`
	DecayType   string   `toml:"decay_type" default:"linear" enum:"linear,sqrt,cosine" help:"shape of the decay"`
	MinLRFactor float64  `toml:"min_lr_factor" default:"0" in:"[0,1]" help:"the decay ends at this part of the peak"`
}

// Training is the [training] section.
type Training struct {
	Dataset              string  `toml:"dataset" default:"gosource" enum:"gosource,text,tokens" help:"gosource: the .go files of GOROOT; text: a file or folder; tokens: raw ids, uint16 (.u16) or uint32 (.u32)"`
	DatasetPath          string  `toml:"dataset_path" help:"file or folder of the dataset; gosource finds its own"`
	LocalBatchSize       int     `toml:"local_batch_size" default:"8" in:"[1,inf)" help:"sequences per rank and microbatch"`
	GlobalBatchSize      int     `toml:"global_batch_size" default:"-1" in:"[1,inf)" or:"-1" help:"sequences per step on all ranks; -1: local_batch_size times the data ranks, no accumulation"`
	SeqLen               int     `toml:"seq_len" default:"2048" in:"[1,inf)" help:"tokens per sequence"`
	Steps                int     `toml:"steps" default:"10000" in:"[1,inf)" help:"optimizer steps"`
	MaxNorm              float64 `toml:"max_norm" default:"1.0" in:"(0,inf]" help:"gradients are scaled down to this global L2 norm; inf: never"`
	DType                string  `toml:"dtype" default:"float32" enum:"float32,bfloat16" later:"bfloat16 storage of parameters" help:"storage type of parameters"`
	MixedPrecisionParam  string  `toml:"mixed_precision_param" default:"bfloat16" enum:"bfloat16,float32" help:"type of gathered parameters and of activations"`
	MixedPrecisionReduce string  `toml:"mixed_precision_reduce" default:"float32" enum:"float32" help:"type in which gradients are reduced"`
	EnableCPUOffload     bool    `toml:"enable_cpu_offload" later:"offload to host memory" help:"keep shards in host memory"`
}

// Parallelism is the [parallelism] section.
type Parallelism struct {
	DataParallelReplicateDegree int    `toml:"data_parallel_replicate_degree" default:"1" in:"[1,inf)" later:"replication of shard groups (HSDP, DDP)" help:"copies of the sharded model"`
	DataParallelShardDegree     int    `toml:"data_parallel_shard_degree" default:"-1" in:"[1,inf)" or:"-1" help:"ranks that share one copy (FSDP); -1: the ranks left over by the other degrees"`
	FSDPReshardAfterForward     string `toml:"fsdp_reshard_after_forward" default:"default" enum:"default,always,never" help:"free gathered weights after forward; default: all but the last unit"`
	TensorParallelDegree        int    `toml:"tensor_parallel_degree" default:"1" in:"[1,inf)" later:"tensor parallelism" help:"ranks that share each matmul"`
	DisableLossParallel         bool   `toml:"disable_loss_parallel" later:"tensor parallelism" help:"gather the logits before the loss"`
	EnableAsyncTensorParallel   bool   `toml:"enable_async_tensor_parallel" later:"asynchronous tensor parallelism" help:"overlap tensor parallelism's collectives with its matmuls"`
	PipelineParallelDegree      int    `toml:"pipeline_parallel_degree" default:"1" in:"[1,inf)" later:"pipeline parallelism" help:"stages of the pipeline"`
	PipelineParallelSchedule    string `toml:"pipeline_parallel_schedule" default:"1F1B" help:"order of microbatches, read when the pipeline has stages"`
	ContextParallelDegree       int    `toml:"context_parallel_degree" default:"1" in:"[1,inf)" later:"context parallelism" help:"ranks that share each sequence"`
}

// Checkpoint is the [checkpoint] section. Initial weights load whether or not saving is enabled.
type Checkpoint struct {
	Enable                    bool     `toml:"enable" later:"saving of checkpoints" help:"save and resume"`
	Folder                    string   `toml:"folder" default:"checkpoint" help:"folder in job.dump_folder, read when enable is set"`
	Interval                  int      `toml:"interval" default:"500" in:"[1,inf)" help:"steps between saves, read when enable is set"`
	LoadStep                  int      `toml:"load_step" default:"-1" in:"[0,inf)" or:"-1" help:"step to resume from; -1: the latest complete one; read when enable is set"`
	InitialLoadPath           string   `toml:"initial_load_path" help:"initial weights: a .safetensors file or a folder of them, with torchtitan's tensor names"`
	InitialLoadModelOnly      bool     `toml:"initial_load_model_only" default:"true" later:"loading of optimizer state" help:"take only the model from initial_load_path"`
	InitialLoadInHF           bool     `toml:"initial_load_in_hf" later:"loading of Hugging Face names" help:"initial_load_path has Hugging Face's tensor names"`
	LastSaveModelOnly         bool     `toml:"last_save_model_only" default:"true" help:"the last save has only the model, read when enable is set"`
	LastSaveInHF              bool     `toml:"last_save_in_hf" help:"the last save has Hugging Face's names, read when enable is set"`
	ExportDType               string   `toml:"export_dtype" default:"float32" enum:"float32,bfloat16,float16" help:"type of the last save, read when enable is set"`
	AsyncMode                 string   `toml:"async_mode" default:"disabled" enum:"disabled,async,async_with_pinned_mem" help:"saving beside training, read when enable is set"`
	KeepLatestK               int      `toml:"keep_latest_k" default:"10" in:"[0,inf)" help:"saves to keep, 0: all; read when enable is set"`
	ExcludeFromLoading        []string `toml:"exclude_from_loading" enum:"model,optimizer,lr_scheduler,dataloader,train_state" help:"parts not to resume, read when enable is set"`
	EnableFirstStepCheckpoint bool     `toml:"enable_first_step_checkpoint" help:"save after the first step too, read when enable is set"`
	CreateSeedCheckpoint      bool     `toml:"create_seed_checkpoint" later:"saving of checkpoints" help:"save the initial weights and stop"`
	LoadOnly                  bool     `toml:"load_only" help:"never save, read when enable is set"`
}

// ActivationCheckpoint is the [activation_checkpoint] section.
type ActivationCheckpoint struct {
	Mode              string  `toml:"mode" default:"none" enum:"none,selective,full,memory_budget" later:"activation checkpointing" help:"which activations to recompute; none: keep all; torchtitan's default is selective"`
	SelectiveACOption string  `toml:"selective_ac_option" default:"2" help:"every n-th block, or op; read in mode selective"`
	MemoryBudget      float64 `toml:"memory_budget" default:"0.5" in:"[0,1]" help:"part of the activations to keep, read in mode memory_budget"`
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
	RecipeName                          string   `toml:"recipe_name" enum:"tensorwise,rowwise,rowwise_with_gw_hp" later:"row-wise scaling" now:"tensorwise" help:"how scales are chosen; empty: tensorwise; the others are not in octet yet"`
	FilterFQNs                          []string `toml:"filter_fqns" default:"output" help:"a linear layer whose name contains one of these stays as it is; torchtitan's default is empty"`
	Emulate                             bool     `toml:"emulate" help:"cast to float8 and multiply in float32"`
}

// Compile is the [compile] section.
type Compile struct {
	Enable     bool     `toml:"enable" later:"compilation" help:"compile the model"`
	Components []string `toml:"components" default:"model,loss" enum:"model,loss" help:"what to compile, read when enable is set"`
	Backend    string   `toml:"backend" default:"inductor" help:"compiler, read when enable is set"`
}

// Validation is the [validation] section.
type Validation struct {
	Enable         bool   `toml:"enable" later:"validation" help:"measure the loss on validation data at step 1 and every freq steps"`
	Dataset        string `toml:"dataset" default:"gosource" enum:"gosource,text,tokens" help:"gosource: the one file in a hundred that training leaves out; others as training.dataset"`
	DatasetPath    string `toml:"dataset_path" help:"file or folder of the dataset"`
	LocalBatchSize int    `toml:"local_batch_size" default:"8" in:"[1,inf)" help:"sequences per rank"`
	SeqLen         int    `toml:"seq_len" default:"2048" in:"[1,inf)" help:"tokens per sequence"`
	Freq           int    `toml:"freq" default:"10" in:"[1,inf)" help:"steps between validations"`
	Steps          int    `toml:"steps" default:"-1" in:"[1,inf)" or:"-1" help:"batches per validation; -1: all the data"`
}

// Metrics is the [metrics] section.
type Metrics struct {
	LogFreq              int    `toml:"log_freq" default:"10" in:"[1,inf)" help:"steps between lines on the console; metrics.jsonl has every step"`
	DisableColorPrinting bool   `toml:"disable_color_printing" help:"no colours, even on a terminal"`
	EnableTensorboard    bool   `toml:"enable_tensorboard" later:"TensorBoard output" help:"write TensorBoard events"`
	SaveTBFolder         string `toml:"save_tb_folder" default:"tb" help:"folder in job.dump_folder, read when enable_tensorboard is set"`
	EnableWandb          bool   `toml:"enable_wandb" later:"Weights & Biases output" help:"send metrics to Weights & Biases"`
	SaveForAllRanks      bool   `toml:"save_for_all_ranks" help:"every rank writes, read when enable_tensorboard or enable_wandb is set"`
}

// Profiling is the [profiling] section.
type Profiling struct {
	EnableProfiling          bool   `toml:"enable_profiling" later:"profiling" help:"write Chrome traces"`
	SaveTracesFolder         string `toml:"save_traces_folder" default:"profile_traces" help:"folder in job.dump_folder, read when enable_profiling is set"`
	ProfileFreq              int    `toml:"profile_freq" default:"10" in:"[1,inf)" help:"steps between traces, read when enable_profiling is set"`
	ProfilerWarmup           int    `toml:"profiler_warmup" default:"3" in:"[0,inf)" help:"steps before a trace, read when enable_profiling is set"`
	ProfilerActive           int    `toml:"profiler_active" default:"1" in:"[1,inf)" help:"steps in a trace, read when enable_profiling is set"`
	EnableMemorySnapshot     bool   `toml:"enable_memory_snapshot" later:"memory snapshots" help:"write the allocator's history"`
	SaveMemorySnapshotFolder string `toml:"save_memory_snapshot_folder" default:"memory_snapshot" help:"folder in job.dump_folder, read when enable_memory_snapshot is set"`
}

// Comm is the [comm] section.
type Comm struct {
	InitTimeoutSeconds  int `toml:"init_timeout_seconds" default:"300" in:"[1,inf)" help:"deadline of a collective until the first step is done"`
	TrainTimeoutSeconds int `toml:"train_timeout_seconds" default:"100" in:"[1,inf)" help:"deadline of a collective after the first step"`
}

// Debug is the [debug] section.
type Debug struct {
	Seed          int  `toml:"seed" default:"0" in:"[0,inf)" help:"seed of weights and data order; torchtitan draws one when unset"`
	Deterministic bool `toml:"deterministic" default:"true" later:"training that is not deterministic" help:"the same bits in every run of the same layout; torchtitan's default is false"`
	PrintPlan     bool `toml:"print_plan" help:"log what is sharded how, and the bytes that each step sends"`
}
