// SPDX-License-Identifier: Apache-2.0

// Package plan makes a training run of a Llama out of a configuration: with
// package parallel the one place that knows the model together with everything
// that is done to it. Resolve does it once; what is checked before a rank
// starts and what every rank trains is the same Run.
package plan

import (
	"errors"
	"slices"

	"octet/config"
	"octet/data"
	"octet/fp8"
	"octet/internal/problems"
	"octet/models/llama"
	"octet/nn"
	"octet/parallel"
)

// Run is a configuration made definite for a number of ranks. It is only read,
// and any number of goroutines may share it.
type Run struct {
	Config *config.Config
	Ranks  int           // of the job; config.AnyWorld while its hosts have yet to meet
	Args   llama.Args    // the flavor with [model.args] on top
	Plan   parallel.Plan // float8 and FSDP as a table
	// Notes are what a user should know of the run, beside those of its configuration.
	Notes []string
	// Model is the converted model, not sharded: names, shapes and wires to look
	// at. What a rank trains it builds itself.
	Model nn.Module
}

// Resolve makes the run of cfg on that many ranks. Its error names every value that
// cannot work or, where each can, every layer that does not fit.
func Resolve(cfg *config.Config, ranks int) (*Run, error) {
	if err := cfg.Validate(ranks); err != nil {
		return nil, err
	}
	r := &Run{Config: cfg, Ranks: ranks}
	var err error
	if r.Args, err = Sizes(cfg); err != nil {
		return nil, err
	}
	if r.Notes, err = compareHF(cfg, r.Args); err != nil {
		return nil, err
	}
	if r.Plan, err = table(cfg); err != nil {
		return nil, inKeys(err)
	}
	r.Model, err = r.Build()
	if err := problems.Lines(inKeys(err), r.checkTied()); err != nil {
		return nil, err
	}
	if err := inKeys(r.checkTensor()); err != nil {
		return nil, err
	}
	return r, nil
}

// On is the run on another number of ranks. Its error is what of the
// configuration does not fit that number.
func (r *Run) On(ranks int) (*Run, error) {
	if err := r.Config.Validate(ranks); err != nil {
		return nil, err
	}
	on := *r
	on.Ranks = ranks
	return &on, nil
}

// Build makes a model like Model: structure without memory, for one rank to
// shard and train.
func (r *Run) Build() (nn.Module, error) {
	var model nn.Module = llama.New(r.Args, r.Config.LongestSequence())
	err := r.Plan.Convert(&model)
	return model, err
}

// checkTied refuses to send a weight that is also the embedding as float8.
func (r *Run) checkTied() error {
	output := func(l fp8.NamedLinear) bool { return l.FQN == "output" && fp8.Converted(l.Linear) }
	if f := r.Plan.Float8; !r.Args.Tied || f == nil || !f.Config.EnableFsdpFloat8AllGather || !slices.ContainsFunc(fp8.Linears(r.Model), output) {
		return nil
	}
	return errors.New(`tok_embeddings and output share one weight; float8 all-gather would round the embedding too: set quantize.linear.float8.filter_fqns = ["output"] or model.args.enable_weight_tying = false`)
}

// Sections are those that name data which the run reads.
func (r *Run) Sections() []data.Section {
	if r.Config.Validation.Enable {
		return []data.Section{data.Training, data.Validation}
	}
	return []data.Section{data.Training}
}

// Data is the data of a section, all of it for one reader.
func (r *Run) Data(s data.Section) data.Config {
	t, v := r.Config.Training, r.Config.Validation
	c := data.Config{
		Section: s, Dataset: t.Dataset, Path: t.DatasetPath, SeqLen: t.SeqLen, LocalBatch: t.LocalBatchSize,
		Ranks: 1, VocabSize: r.Args.Vocab, Seed: uint64(r.Config.Debug.Seed),
		Assets: r.Config.Model.HFAssetsPath, Field: t.DatasetField, SkipBroken: t.DatasetSkipBroken, Cache: t.DatasetCache,
	}
	if v.Enable {
		c.Fraction = v.Fraction
	}
	if s == data.Validation {
		c.SeqLen, c.LocalBatch = v.SeqLen, v.LocalBatchSize
		if v.Fraction == 0 {
			c.Dataset, c.Path = v.Dataset, v.DatasetPath
		}
	}
	return c
}

// OpenData opens a rank's part of the data of a section.
func (r *Run) OpenData(s data.Section, rank int) (*data.Loader, error) {
	c := r.Data(s)
	c.Rank, c.Ranks = r.Config.DataRank(rank), r.Config.DataRanks(r.Ranks)
	return data.Open(c)
}
