// SPDX-License-Identifier: Apache-2.0

// Package plan turns a configuration into a Llama and its plan: the one place
// that knows the model together with everything that is done to it.
//
//	args, err := plan.Args(cfg)              // the flavor with [model.args] on top
//	p, err := plan.Llama(cfg)                // float8 and FSDP as a table
//	err = plan.Check(cfg, world)             // all of it, before any rank starts
package plan

import (
	"errors"
	"fmt"

	"octet/config"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/parallel"
)

// Args are the sizes that cfg asks for.
func Args(cfg *config.Config) (llama.Args, error) {
	a, err := llama.Flavor(cfg.Model.Flavor)
	if err != nil {
		return a, err
	}
	o := cfg.Model.Args
	set(&a.Dim, o.Dim)
	set(&a.Layers, o.NLayers)
	set(&a.Heads, o.NHeads)
	set(&a.KVHeads, o.NKVHeads)
	set(&a.Vocab, o.VocabSize)
	set(&a.FFNHiddenDim, o.FFNHiddenDim)
	set(&a.MultipleOf, o.MultipleOf)
	set(&a.FFNDimMultiplier, o.FFNDimMultiplier)
	set(&a.NormEps, o.NormEps)
	set(&a.RopeTheta, o.RopeTheta)
	set(&a.ScaledRope, o.UseScaledRope)
	set(&a.MaxSeqLen, o.MaxSeqLen)
	set(&a.Tied, o.EnableWeightTying)
	return a, a.Validate(cfg.LongestSequence())
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// Llama is the plan of cfg: float8 as its section says, and one FSDP unit for
// the embedding, for each layer, and for norm and output together. Tied weights
// are used by both ends, so that they belong to the root's unit.
func Llama(cfg *config.Config) (parallel.Plan, error) {
	param, err := dtype.Parse(cfg.Training.MixedPrecisionParam)
	if err != nil {
		return parallel.Plan{}, fmt.Errorf("training.mixed_precision_param: %w", err)
	}
	p := parallel.Plan{
		Units: []string{"tok_embeddings", "layers.*", "norm+output"},
		FSDP:  fsdp.Options{Param: param, Reshard: fsdp.Reshard(cfg.Parallelism.FSDPReshardAfterForward)},
	}
	if cfg.Float8Enabled() {
		f := cfg.Quantize.Linear.Float8
		c, err := fp8.ConfigFromRecipe(fp8.RecipeName(f.RecipeName))
		if err != nil {
			return p, err
		}
		c.EnableFsdpFloat8AllGather = f.EnableFSDPFloat8AllGather
		c.Emulate = f.Emulate
		p.Float8 = &parallel.Float8{Config: c, Skip: f.FilterFQNs, Precompute: f.PrecomputeFloat8DynamicScaleForFSDP}
	}
	return p, nil
}

// Check reports everything about cfg that cannot work on that many ranks.
func Check(cfg *config.Config, world int) error {
	if err := cfg.Validate(world); err != nil {
		return err
	}
	_, _, err := Build(cfg)
	return err
}

// Build makes the model, converted but not sharded: structure without memory.
func Build(cfg *config.Config) (nn.Module, parallel.Plan, error) {
	args, err := Args(cfg)
	if err != nil {
		return nil, parallel.Plan{}, err
	}
	p, err := Llama(cfg)
	if err != nil {
		return nil, p, err
	}
	var model nn.Module = llama.New(args, cfg.LongestSequence())
	return model, p, errors.Join(p.Convert(&model), checkTied(args, p))
}

// checkTied refuses to send a weight that is also the embedding as float8.
func checkTied(args llama.Args, p parallel.Plan) error {
	if !args.Tied || p.Float8 == nil || !p.Float8.Config.EnableFsdpFloat8AllGather || !fp8.FilterFQNs(p.Float8.Skip...)(nil, "output") {
		return nil
	}
	return errors.New(`tok_embeddings and output share one weight; float8 all-gather would round the embedding too: set quantize.linear.float8.filter_fqns = ["output"] or model.args.enable_weight_tying = false`)
}
