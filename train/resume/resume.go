// SPDX-License-Identifier: Apache-2.0

// Package resume finds where a run of training begins: with nothing, with weights, or after a step that a checkpoint has.
// It is asked before any rank starts, so that what does not fit is told then, and by the ranks.
//
//	start, err := resume.Find(run, contents, owner)
//	if start.Dir != "" && start.Loads("dataloader") { … }
package resume

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"octet/checkpoint"
	"octet/config"
	"octet/internal/problems"
	"octet/models/llama/plan"
	"octet/nn"
)

// Start is where a run begins.
type Start struct {
	// Dir is the checkpoint that the run goes on from; empty: it begins, with the weights of
	// checkpoint.initial_load_path if that names some.
	Dir string
	// Own: it is in the run's own folder, so that its other files go on as well.
	Own bool
	// Step is the checkpoint's, and after which the run's is.
	Step int
	// Without are the parts that are not loaded, of checkpoint.exclude_from_loading.
	Without []string
	Notes   []string
}

// Loads reports whether a part of the checkpoint is loaded: one of checkpoint.exclude_from_loading's.
func (s Start) Loads(part string) bool { return !slices.Contains(s.Without, part) }

// parts are what a checkpoint has beside the model.
func parts() []string { return []string{"optimizer", "lr_scheduler", "dataloader", "train_state"} }

// Find finds where the run begins: the newest checkpoint of its own folder or the one of checkpoint.load_step, else that of
// checkpoint.initial_load_path, else nothing. Its error names all that the run and the checkpoint do not have in common: the
// model's sizes, the shapes of its parameters, and the training data (contents has it as DataName; nil: not compared). What an earlier attempt of job
// has saved is gone on from, whatever the keys say: they are about the first.
func Find(run *plan.Run, contents map[string]string, job string) (Start, error) {
	c := run.Config.Checkpoint
	s, err := choose(run, job)
	if err != nil || s.Dir == "" {
		return s, err
	}
	saved, err := checkpoint.Open(s.Dir)
	if err != nil {
		return s, fmt.Errorf("%w; an earlier checkpoint is loaded with checkpoint.load_step", err)
	}
	defer saved.Close()
	x := saved.Index
	if s.Own && c.InitialLoadPath != "" {
		s.Notes = append(s.Notes, fmt.Sprintf("checkpoint.initial_load_path = %q is not loaded: the run goes on from %s", c.InitialLoadPath, s.Dir))
	}
	if s.Own && x.Step == 0 { // a seed checkpoint, or one of weights alone
		s.Without = append(s.Without, parts()...)
	}
	if x.ModelOnly && s.Loads("optimizer") && x.Step < run.Config.Training.Steps {
		return s, fmt.Errorf("%s has weights only (checkpoint.last_save_model_only), with which no run goes on: "+
			"name an earlier one with checkpoint.load_step, or begin with its weights: checkpoint.initial_load_path, in another job.dump_folder", s.Dir)
	}
	if s.Loads("train_state") {
		s.Step = x.Step
	}
	return s, problems.Lines(sameModel(run, x, s), sameData(run, x, s, contents))
}

// choose finds the checkpoint.
func choose(run *plan.Run, job string) (s Start, err error) {
	c := run.Config.Checkpoint
	if c.Enable {
		folder := Folder(run.Config)
		whole, err := checkpoint.Whole(folder)
		if err != nil {
			return s, fmt.Errorf("checkpoint.folder: %w", err)
		}
		if len(whole) > 0 && c.CreateSeedCheckpoint {
			return s, fmt.Errorf("checkpoint.create_seed_checkpoint: there are checkpoints in %s already; name another folder", folder)
		}
		var steps []string
		for _, l := range whole {
			steps = append(steps, fmt.Sprint(l.Step))
			if l.Step == c.LoadStep || c.LoadStep == -1 {
				s = Start{Dir: l.Dir, Own: true, Without: c.ExcludeFromLoading}
			}
		}
		if len(whole) > 0 {
			if newest := whole[len(whole)-1].Dir; wroteBy(newest, job) {
				return Start{Dir: newest, Own: true}, nil
			}
		}
		if s.Dir == "" && c.LoadStep != -1 {
			return s, fmt.Errorf("checkpoint.load_step = %d: there is no such checkpoint in %s; there are: %s", c.LoadStep, folder, cmp.Or(strings.Join(steps, ", "), "none"))
		}
	}
	if s.Dir == "" && c.InitialLoadPath != "" && !c.InitialLoadModelOnly {
		s = Start{Dir: c.InitialLoadPath, Without: c.ExcludeFromLoading}
	}
	return s, nil
}

// wroteBy reports whether the job wrote the checkpoint.
func wroteBy(dir, job string) bool {
	if job == "" {
		return false
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		return false // whoever loads it says why
	}
	defer c.Close()
	return c.Index.Job == job
}

// DataName is how preflight.Contents calls the training data.
const DataName = "the training data"

// Folder is where the checkpoints of a run are.
func Folder(cfg *config.Config) string {
	return filepath.Join(cfg.Job.DumpFolder, cfg.Checkpoint.Folder)
}

// Sizes are those of the run's model, as a checkpoint has them.
func Sizes(run *plan.Run) json.RawMessage {
	text, err := json.Marshal(run.Args)
	if err != nil {
		panic(fmt.Sprintf("resume: the sizes of a model: %v", err))
	}
	return text
}

func sameModel(run *plan.Run, x *checkpoint.Index, s Start) error {
	if !s.Loads("model") {
		return nil
	}
	var all []error
	differ := func(format string, args ...any) {
		all = append(all, fmt.Errorf("%s is of another model: %s", s.Dir, fmt.Sprintf(format, args...)))
	}
	var saved, wanted map[string]any
	if err := errors.Join(json.Unmarshal(x.Model, &saved), json.Unmarshal(Sizes(run), &wanted)); err != nil {
		return fmt.Errorf("%s: model: %w", s.Dir, err)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if saved[name] != wanted[name] {
			differ("%s is %v there, %v here", name, saved[name], wanted[name])
		}
	}
	for name, p := range nn.Parameters(run.Model) {
		switch t, ok := x.Tensors[name]; {
		case !ok:
			differ("%s %v is missing", name, p.Shape)
		case !slices.Equal(t.Shape, p.Shape):
			differ("%s is %v there, %v here", name, t.Shape, p.Shape)
		}
	}
	return problems.Lines(all...)
}

func sameData(run *plan.Run, x *checkpoint.Index, s Start, contents map[string]string) error {
	if !s.Loads("dataloader") || x.ModelOnly {
		return nil
	}
	const instead = "; set it to that, or begin the data anew with checkpoint.exclude_from_loading = [\"dataloader\"]"
	var all []error
	if n := run.Config.Training.SeqLen; n != x.Data.SeqLen {
		all = append(all, fmt.Errorf("training.seq_len = %d: %s has its place in windows of %d tokens%s", n, s.Dir, x.Data.SeqLen, instead))
	}
	if seed := uint64(run.Config.Debug.Seed); seed != x.Seed {
		all = append(all, fmt.Errorf("debug.seed = %d: %s has its place in the order of seed %d%s", seed, s.Dir, x.Seed, instead))
	}
	if now, ok := contents[DataName]; ok && x.Data.Fingerprint != "" && now != x.Data.Fingerprint {
		all = append(all, fmt.Errorf("training.dataset_path: %s was made with other data: %s, here %s; name that data, or begin this one with checkpoint.exclude_from_loading = [\"dataloader\"]",
			s.Dir, x.Data.Fingerprint, now))
	}
	return problems.Lines(all...)
}
