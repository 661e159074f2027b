// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strconv"

	"octet/config"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/nn"
	"octet/parallel"
)

// Sizes are those of the model that a configuration asks for.
func Sizes(cfg *config.Config) (llama.Args, error) {
	a, err := sizes(cfg)
	return a, inKeys(err)
}

func sizes(cfg *config.Config) (llama.Args, error) {
	a, err := flavor(cfg.Model)
	if err != nil {
		return a, err
	}
	o := cfg.Model.Args
	set(&a.Dim, o.Dim)
	set(&a.Layers, o.NLayers)
	set(&a.Heads, o.NHeads)
	set(&a.KVHeads, o.NKVHeads)
	set(&a.HeadSize, o.HeadDim)
	set(&a.Vocab, o.VocabSize)
	set(&a.FFNHiddenDim, o.FFNHiddenDim)
	set(&a.MultipleOf, o.MultipleOf)
	set(&a.FFNDimMultiplier, o.FFNDimMultiplier)
	set(&a.NormEps, o.NormEps)
	set(&a.RopeTheta, o.RopeTheta)
	set(&a.ScaledRope, o.UseScaledRope)
	set(&a.RopeFactor, o.RopeFactor)
	set(&a.RopeLowFreq, o.RopeLowFreqFactor)
	set(&a.RopeHighFreq, o.RopeHighFreqFactor)
	set(&a.RopeOriginalMaxSeqLen, o.RopeOriginalMaxSeqLen)
	set(&a.MaxSeqLen, o.MaxSeqLen)
	set(&a.Tied, o.EnableWeightTying)
	return a, a.Validate(cfg.LongestSequence())
}

// flavor are the sizes that [model.args] changes.
func flavor(m config.Model) (llama.Args, error) {
	if m.Flavor != "hf" {
		return llama.Flavor(m.Flavor)
	}
	c, err := hf.ReadConfig(m.HFAssetsPath)
	if err != nil {
		err = fmt.Errorf("model.hf_assets_path: %w", err)
	}
	return c.Args, err
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// table is the plan of cfg: float8 and recomputation as their sections say, and one FSDP unit for
// the embedding, for each layer, and for norm and output together. Tied weights
// are used by both ends, so that they belong to the root's unit.
func table(cfg *config.Config) (parallel.Plan, error) {
	param, err := dtype.Parse(cfg.Training.MixedPrecisionParam)
	if err != nil {
		return parallel.Plan{}, fmt.Errorf("training.mixed_precision_param: %w", err)
	}
	p := parallel.Plan{
		Degrees:       degrees(cfg.Parallelism),
		Tensor:        Tensor(TensorOptions{Sequence: cfg.Parallelism.EnableSequenceParallel, Loss: !cfg.Parallelism.DisableLossParallel}),
		AsyncTensor:   cfg.Parallelism.EnableAsyncTensorParallel,
		Recompute:     recompute(cfg.ActivationCheckpoint),
		DetectAnomaly: cfg.Debug.DetectAnomaly,
		Units:         []string{"tok_embeddings", "layers.*", "norm+output"},
		FSDP:          fsdp.Options{Param: param, Reshard: fsdp.Reshard(cfg.Parallelism.FSDPReshardAfterForward)},
	}
	if cfg.Float8Enabled() {
		if p.Float8, err = float8(cfg.Quantize.Linear.Float8); err != nil {
			return p, err
		}
	}
	return p, nil
}

// degrees are those of the keys.
func degrees(p config.Parallelism) parallel.Degrees {
	return parallel.Degrees{Replicate: p.DataParallelReplicateDegree, Shard: max(0, p.DataParallelShardDegree), Tensor: p.TensorParallelDegree}
}

// autoFilter in filter_fqns skips what is too small to gain by float8, as torchtitan has it.
const autoFilter = "auto_filter_small_kn"

// float8 is what section f asks for.
func float8(f config.Float8) (*parallel.Float8, error) {
	name := fp8.RecipeName(f.RecipeName)
	c, err := fp8.ConfigFromRecipe(name)
	if err != nil {
		return nil, err
	}
	if name == "" { // otherwise the recipe says how, and config refuses both
		name = fp8.RecipeTensorwise
		c.CastConfigInput.ScalingType = fp8.ScalingType(f.ScalingTypeInput)
		c.CastConfigWeight.ScalingType = fp8.ScalingType(f.ScalingTypeWeight)
		c.CastConfigGradOutput.ScalingType = fp8.ScalingType(f.ScalingTypeGradOutput)
	}
	c.DelayedScalingConfig.HistoryLen, c.EnableAmaxInit = f.HistoryLen, f.EnableAmaxInit
	set(&c.RoundScalesToPowerOf2, f.RoundScalesToPowerOf2)
	c.EnableFsdpFloat8AllGather, c.PadInnerDim, c.Emulate = f.EnableFSDPFloat8AllGather, f.PadInnerDim, f.Emulate
	for of, gemm := range map[string]*fp8.GemmConfig{"output": &c.GemmConfigOutput, "grad_input": &c.GemmConfigGradInput, "grad_weight": &c.GemmConfigGradWeight} {
		gemm.UseFastAccum = slices.Contains(f.FastAccum, of)
	}
	p := &parallel.Float8{Config: c, Precompute: f.PrecomputeFloat8DynamicScaleForFSDP}
	for _, skip := range f.FilterFQNs {
		if skip == autoFilter {
			p.SkipSmall = name
		} else {
			p.Skip = append(p.Skip, skip)
		}
	}
	return p, nil
}

// recompute is what section a asks for, as torchtitan's apply_ac does it.
func recompute(a config.ActivationCheckpoint) *parallel.Recompute {
	r := &parallel.Recompute{Modules: []string{"layers.*"}}
	switch {
	case a.Mode == "none":
		return nil
	case a.Mode == "selective" && a.SelectiveACOption == "op":
		r.Keep = nn.KeepCostly
	case a.Mode == "selective":
		r.Every, _ = strconv.Atoi(a.SelectiveACOption) // checked by config
	}
	return r
}
