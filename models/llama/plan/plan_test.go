// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"octet/config"
	"octet/data"
	"octet/fp8"
	"octet/internal/datadriven"
	"octet/test/ranks"
)

// TestPlans runs testdata/*.txt: the input of a case is a command line.
//
//	check ranks=2          what Resolve says of it: "ok" or the error
//	plan ranks=3 rank=2    the plan as rank 2 prints it
func TestPlans(t *testing.T) {
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		cfg, err := config.Load(strings.Fields(c.Input))
		if err != nil {
			return err.Error() + "\n"
		}
		n := c.Int(t, "ranks", 1)
		run, err := Resolve(cfg, n)
		if err != nil {
			return err.Error() + "\n"
		}
		if c.Cmd == "check" {
			return "ok\n"
		}
		return printed(t, run, c.Int(t, "rank", 0))
	})
}

// printed is the plan of one rank; making it is a collective of all.
func printed(t *testing.T, run *Run, rank int) string {
	texts := make([]string, run.Ranks)
	ranks.Run(t, run.Ranks, ranks.Options{}, func(r *ranks.Rank) error {
		model, err := run.Build()
		if err != nil {
			return err
		}
		m, err := run.Plan.Shard(model, r.World, r.Device)
		if err != nil {
			return err
		}
		texts[r.Rank] = m.Plan()
		return nil
	})
	return texts[rank]
}

// TestTheDataOfASection is all of it, read by one.
func TestTheDataOfASection(t *testing.T) {
	cfg, err := config.Load([]string{"--training.dataset=text", "--training.dataset_path=.", "--training.seq_len=32", "--training.local_batch_size=3", "--debug.seed=7",
		"--validation.dataset_path=..", "--validation.seq_len=16", "--validation.local_batch_size=5"})
	if err != nil {
		t.Fatal(err)
	}
	run, err := Resolve(cfg, config.AnyWorld)
	if err != nil {
		t.Fatal(err)
	}
	for section, want := range map[data.Section]data.Config{
		data.Training:   {Section: "training", Dataset: "text", Path: ".", SeqLen: 32, LocalBatch: 3, Ranks: 1, VocabSize: 2048, Seed: 7, Field: "text"},
		data.Validation: {Section: "validation", Dataset: "gosource", Path: "..", SeqLen: 16, LocalBatch: 5, Ranks: 1, VocabSize: 2048, Seed: 7, Field: "text"},
	} {
		if got := run.Data(section); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// TestTheFractionIsOfTrainingsData: both sections read it, each its side.
func TestTheFractionIsOfTrainingsData(t *testing.T) {
	cfg, err := config.Load([]string{"--training.dataset=jsonl", "--training.dataset_path=.", "--training.dataset_field=body", "--training.dataset_skip_broken", "--training.dataset_cache=cache",
		"--training.seq_len=32", "--training.local_batch_size=3", "--model.hf_assets_path=..", "--validation.enable", "--validation.fraction=0.25", "--validation.seq_len=16", "--validation.local_batch_size=5"})
	if err != nil {
		t.Fatal(err)
	}
	run, err := Resolve(cfg, config.AnyWorld)
	if err != nil {
		t.Fatal(err)
	}
	want := data.Config{Section: "training", Dataset: "jsonl", Path: ".", SeqLen: 32, LocalBatch: 3, Ranks: 1, VocabSize: 2048,
		Assets: "..", Field: "body", SkipBroken: true, Fraction: 0.25, Cache: "cache"}
	if got := run.Data(data.Training); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	want.Section, want.SeqLen, want.LocalBatch = "validation", 16, 5
	if got := run.Data(data.Validation); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestTheRecipeIsTheKeys: the plan's casts are those of recipe_name.
func TestTheRecipeIsTheKeys(t *testing.T) {
	for _, name := range fp8.RecipeNames() {
		cfg, err := config.Load([]string{"--model.converters=quantize.linear.float8"})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Quantize.Linear.Float8.RecipeName = string(name)
		p, err := table(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := fp8.ConfigFromRecipe(name); err != nil || p.Float8.Config != want {
			t.Errorf("%s: %+v, want %+v (%v)", name, p.Float8.Config, want, err)
		}
	}
}
