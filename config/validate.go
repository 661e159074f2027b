// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Float8Converter is the entry of model.converters that swaps linear layers to float8.
const Float8Converter = "quantize.linear.float8"

// AnyWorld stands for a number of ranks that is not known yet: what depends on it is not checked.
const AnyWorld = 0

// Validate reports every value that cannot work on world ranks: all problems in one error, each with the place where
// the value was set, the field, the value, and what would be right. Nothing is started or written.
func (c *Config) Validate(world int) error {
	problems := c.values()
	if world != AnyWorld {
		v := c.validator()
		v.parallelism(world)
		problems = multierror.Append(problems, v.problems.WrappedErrors()...)
	}
	return listed(problems, nil)
}

// values finds every value that cannot work on any number of ranks.
func (c *Config) values() *multierror.Error {
	v := c.validator()
	for _, s := range sections(c) {
		for _, f := range s.fields {
			v.declared(f)
		}
	}
	v.tokens("training", c.Training.LocalBatchSize, c.Training.SeqLen)
	v.float8()
	v.recomputation()
	v.async()
	v.graph()
	v.datasets()
	if c.Validation.Enable {
		v.tokens("validation", c.Validation.LocalBatchSize, c.Validation.SeqLen)
	}
	v.checkpoint()
	v.paths()
	return v.problems
}

func (c *Config) validator() *validator {
	return &validator{config: c, fields: fields(c), defaults: fields(Default())}
}

// validator collects the problems of one Config.
type validator struct {
	config   *Config
	fields   map[string]field
	defaults map[string]field
	problems *multierror.Error
}

// problem reports a field's value: "configs/x.toml:3: training.steps = 0: must be at least 1".
func (v *validator) problem(name, format string, args ...any) {
	f := v.fields[name]
	place := ""
	if origin, ok := v.config.origin[name]; ok {
		place = origin + ": "
	}
	v.problems = multierror.Append(v.problems, fmt.Errorf("%s%s = %s: %s", place, name, f.quoted(), fmt.Sprintf(format, args...)))
}

// declared checks a value against the tags of its field.
func (v *validator) declared(f field) {
	text, isSet := f.text()
	if !isSet || v.isDefault(f) || f.idle(v.fields) {
		return
	}
	if enum := f.tag.Get("enum"); enum != "" {
		legal := strings.Split(enum, ",")
		if slices.ContainsFunc(f.items(), func(item string) bool { return !slices.Contains(legal, item) }) {
			v.problem(f.name, "must be one of %s", strings.Join(legal, ", "))
			return
		}
	}
	if later := f.tag.Get("later"); later != "" && !slices.Contains(strings.Split(f.tag.Get("now"), ","), text) {
		v.problem(f.name, "%s is not in octet yet; use %s", later, v.defaults[f.name].quoted())
		return
	}
	if in := f.tag.Get("in"); in != "" && text != f.tag.Get("or") && !parseInterval(in).contains(f.number()) {
		v.problem(f.name, "must be %s", f.legalNumbers())
	}
}

// async refuses what rows that travel beside products do not go with.
func (v *validator) async() {
	const key = "parallelism.enable_async_tensor_parallel"
	p := v.config.Parallelism
	switch {
	case !p.EnableAsyncTensorParallel || p.TensorParallelDegree <= 1:
	case !p.EnableSequenceParallel:
		v.problem(key, "without parallelism.enable_sequence_parallel no rows travel; set it, or use false")
	case v.config.Debug.DetectAnomaly:
		v.problem(key, "debug.detect_anomaly reads activations that are still on their way; use false while you look for one")
	}
}

// graph refuses what a captured step does not go with.
func (v *validator) graph() {
	const key = "device.cuda_graph"
	switch c := v.config; {
	case !c.Device.CUDAGraph:
	case c.Device.Name != "cuda":
		v.problem(key, "device.name = %q has no CUDA graphs; use device.name = \"cuda\", or false", c.Device.Name)
	case c.Debug.DetectAnomaly:
		v.problem(key, "debug.detect_anomaly looks at each step by itself; use false while you look for one")
	}
}

// maxMicrobatches bounds what a step uploads before it begins.
const maxMicrobatches = 1 << 14

// parallelism checks the degrees against the world size, and the batch against the degrees.
func (v *validator) parallelism(world int) {
	const shardDegree, globalBatch = "parallelism.data_parallel_shard_degree", "training.global_batch_size"
	c := v.config
	p, others := c.Parallelism, c.otherDegrees()
	shard := p.DataParallelShardDegree
	if min(p.DataParallelReplicateDegree, p.TensorParallelDegree, p.ContextParallelDegree, p.PipelineParallelDegree) < 1 || shard < 1 && shard != -1 {
		return // told already
	}
	if c.Device.CUDAGraph && world > 1 {
		v.problem("device.cuda_graph", "the collectives of %d ranks are not captured yet; use false, or one rank", world)
	}
	if others < 1 || world%others != 0 {
		use := ""
		if others > 0 { // the product may be more than there are numbers
			use = fmt.Sprintf("; use %s ranks, or degrees whose product divides %d", multiplesNear(world, others), world)
		}
		v.problems = multierror.Append(v.problems, fmt.Errorf("world size %d does not divide by %d, the product of the degrees beside %s: %s%s",
			world, others, shardDegree, c.otherDegreesByName(), use))
		return
	}
	if shard != -1 && shard*others != world {
		v.problem(shardDegree, "the degrees multiply to %d × %s = %d, but the world size is %d; use %d, or -1 for whatever is left", shard, c.otherDegreesByName(), shard*others, world, world/others)
		return
	}
	local, global := c.Training.LocalBatchSize, c.Training.GlobalBatchSize
	atOnce := local * c.DataRanks(world)
	if atOnce <= 0 || global == -1 { // told already, or one microbatch
		return
	}
	if global%atOnce != 0 {
		v.problem(globalBatch, "is not a multiple of local_batch_size %d × %d data ranks = %d; use %s", local, c.DataRanks(world), atOnce, multiplesNear(global, atOnce))
	} else if global/atOnce > maxMicrobatches {
		v.problem(globalBatch, "is more than %d microbatches of local_batch_size %d on %d data ranks, which a step has in memory; use at most %d",
			maxMicrobatches, local, c.DataRanks(world), maxMicrobatches*atOnce)
	}
}

// multiplesNear are those of unit around n, which is none.
func multiplesNear(n, unit int) string {
	up := (n/unit + 1) * unit
	if down := up - unit; down > 0 {
		return fmt.Sprintf("%d or %d", down, up)
	}
	return fmt.Sprint(up)
}

// maxTokens is the most tokens of a rank's microbatch: below it no size of a tensor overflows, whatever the model.
const maxTokens = 1 << 28

// tokens checks the size of a section's microbatches.
func (v *validator) tokens(section string, batch, seqLen int) {
	if batch > 0 && seqLen > maxTokens/batch {
		v.problem(section+".seq_len", "× local_batch_size %d is more than the %d tokens that a rank can have in a microbatch", batch, maxTokens)
	}
}

// recomputation checks what selects blocks.
func (v *validator) recomputation() {
	a := v.config.ActivationCheckpoint
	if n, err := strconv.Atoi(a.SelectiveACOption); a.Mode == "selective" && a.SelectiveACOption != "op" && (err != nil || n < 1) {
		v.problem("activation_checkpoint.selective_ac_option", "must be op, or a number from 1: of how many blocks one is recomputed")
	}
}

// float8 checks what can be known without the model's shapes.
func (v *validator) float8() {
	const section = "quantize.linear.float8."
	f := v.config.Quantize.Linear.Float8
	if !slices.Contains(v.config.Model.Converters, Float8Converter) {
		for _, name := range slices.Sorted(maps.Keys(v.fields)) {
			if (strings.HasPrefix(name, section) || name == "debug.float8_stats") && !v.isDefault(v.fields[name]) {
				v.problem(name, "has no effect without %s in model.converters", Float8Converter)
			}
		}
		return
	}
	weight, delayed := f.ScalingTypeWeight, f.RecipeName == "delayed"
	if delayed {
		weight = f.RecipeName
	}
	for _, name := range []string{"scaling_type_input", "scaling_type_weight", "scaling_type_grad_output"} {
		kind, _ := v.fields[section+name].text()
		delayed = delayed || kind == "delayed"
		if kind != "dynamic" && f.RecipeName != "" {
			v.problem(section+name, "recipe_name = %q says how all operands are cast; leave one of the two out", f.RecipeName)
		}
	}
	for _, name := range []string{"history_len", "enable_amax_init"} {
		if !delayed && !v.isDefault(v.fields[section+name]) {
			v.problem(section+name, `has no effect without delayed scaling: recipe_name = "delayed", or a scaling_type_* that is`)
		}
	}
	switch {
	case !f.PrecomputeFloat8DynamicScaleForFSDP:
	case !f.EnableFSDPFloat8AllGather:
		v.problem(section+"precompute_float8_dynamic_scale_for_fsdp", "has no effect without enable_fsdp_float8_all_gather = true")
	case f.RecipeName == "rowwise":
		v.problem(section+"precompute_float8_dynamic_scale_for_fsdp", "has nothing to do for recipe_name %q: each row's scale is its own and travels with it; set it to false", f.RecipeName)
	case weight != "dynamic":
		v.problem(section+"precompute_float8_dynamic_scale_for_fsdp", `needs scaling_type_weight "dynamic", found %q; delayed weights get their scale from the sync after backward: set it to false`, weight)
	}
	switch name := section + "fast_accum"; {
	case f.Emulate && !v.isDefault(v.fields[name]):
		v.problem(name, "has no effect with emulate = true, which multiplies in float32; leave one of the two out")
	case f.RecipeName == "rowwise_with_gw_hp" && slices.Contains(f.FastAccum, "grad_weight"):
		v.problem(name, "recipe_name = %q does not multiply grad_weight in float8; leave it out", f.RecipeName)
	}
	// The matmul of grad_weight contracts over tokens, and a float8 matmul needs multiples of 16.
	batch, seqLen := v.config.Training.LocalBatchSize, v.config.Training.SeqLen
	if tokens := batch * seqLen; tokens%16 != 0 && !f.Emulate && !f.PadInnerDim {
		v.problem("training.seq_len", "× local_batch_size %d = %d tokens per rank, not a multiple of 16 (grad_weight contracts over tokens in float8); use seq_len %d", batch, tokens, (seqLen+15)/16*16)
	}
}

// paths checks the other files and folders.
func (v *validator) paths() {
	v.folderOfHF()
	if path := v.config.Checkpoint.InitialLoadPath; path != "" {
		const name = "checkpoint.initial_load_path"
		info, ok := v.exists(name, path)
		if ok && !info.IsDir() && v.config.Checkpoint.InitialLoadInHF {
			v.problem(name, "is a file, but checkpoint.initial_load_in_hf wants the folder of a Hugging Face model")
		} else if ok && !info.IsDir() && filepath.Ext(path) != ".safetensors" {
			v.problem(name, "must be a .safetensors file, a folder of them, or a checkpoint's folder")
		}
	}
	switch info, err := os.Stat(v.config.Job.DumpFolder); {
	case err == nil && !info.IsDir():
		v.problem("job.dump_folder", "is a file; name a folder")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		v.problem("job.dump_folder", "%v", reason(err))
	}
	if name := v.config.Job.SaveConfigFile; name != "" {
		v.inDumpFolder("job.save_config_file", name, false)
	}
	if m := v.config.Metrics; m.EnableTensorBoard {
		v.inDumpFolder("metrics.save_tb_folder", m.SaveTBFolder, true)
	}
	if p := v.config.Profiling; p.EnableProfiling {
		v.inDumpFolder("profiling.save_traces_folder", p.SaveTracesFolder, true)
		if p.ProfilerActive > p.ProfileFreq {
			v.problem("profiling.profiler_active", "must be at most profiling.profile_freq, %d", p.ProfileFreq)
		}
		if v.config.Device.Name != "cpu" {
			v.problem("profiling.enable_profiling", "the streams of device.name = %q have no times: leave it out", v.config.Device.Name)
		}
	}
}

// folderOfHF checks what is said of a Hugging Face model, but for what is in its folder.
func (v *validator) folderOfHF() {
	const name = "model.hf_assets_path"
	m, c := v.config.Model, v.config.Checkpoint
	if m.HFAssetsPath != "" {
		if info, ok := v.exists(name, m.HFAssetsPath); ok && !info.IsDir() {
			v.problem(name, "must be the folder of a Hugging Face model")
		}
		return
	}
	if m.Flavor == "hf" {
		v.problem("model.flavor", "needs model.hf_assets_path, a folder with a config.json")
	}
	if c.InitialLoadInHF && c.InitialLoadPath == "" {
		v.problem("checkpoint.initial_load_in_hf", "needs the folder of a Hugging Face model: set model.hf_assets_path or checkpoint.initial_load_path")
	}
}

// inDumpFolder checks the name of a file, or of a folder, that is written in job.dump_folder.
func (v *validator) inDumpFolder(key, name string, folder bool) {
	if !filepath.IsLocal(name) || filepath.Clean(name) == "." {
		v.problem(key, "must be a path inside job.dump_folder")
		return
	}
	switch info, err := os.Stat(filepath.Join(v.config.Job.DumpFolder, name)); {
	case err == nil && info.IsDir() && !folder:
		v.problem(key, "is a folder in job.dump_folder; name a file")
	case err == nil && !info.IsDir() && folder:
		v.problem(key, "is a file in job.dump_folder; name a folder")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		v.problem(key, "%v", reason(err))
	}
}

// exists reports a path that is not there, which a dry run may do without: it opens only what model.flavor says.
func (v *validator) exists(name, path string) (fs.FileInfo, bool) {
	info, err := os.Stat(path)
	if err != nil && !(v.config.Debug.DryRun && errors.Is(err, fs.ErrNotExist)) {
		v.problem(name, "%v", reason(err))
	}
	return info, err == nil
}

// stat is exists for a path that need not be there.
func (v *validator) stat(name, path string) (fs.FileInfo, bool) {
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.problem(name, "%v", reason(err))
	}
	return info, err == nil
}

// reason is an error of the file system without the path, which the message has already.
func reason(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// idle reports that the key which makes f act is off.
func (f field) idle(all map[string]field) bool {
	when := f.tag.Get("when")
	if when == "" {
		return false
	}
	if key, least, ok := strings.Cut(when, ">"); ok {
		n, _ := strconv.ParseFloat(least, 64)
		return all[key].number() <= n
	}
	key, want, ok := strings.Cut(when, "=")
	if !ok {
		want = "true"
	}
	text, _ := all[key].text()
	return text != want
}

func (v *validator) isDefault(f field) bool {
	return reflect.DeepEqual(f.value.Interface(), v.defaults[f.name].value.Interface())
}

// number is the value of an int or float field that is set.
func (f field) number() float64 {
	v := reflect.Indirect(f.value)
	if v.CanInt() {
		return float64(v.Int())
	}
	return v.Float()
}
