// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"octet/config"
	"octet/data"
	"octet/device/trace"
	"octet/fp8"
	"octet/internal/datadriven"
	"octet/parallel"
	"octet/test/ranks"
)

// TestPlans runs testdata/*.txt: the input of a case is a command line.
//
//	check ranks=2          what Resolve says of it: "ok" or the error
//	plan ranks=3 rank=2    the plan as rank 2 prints it
//	dry ranks=16384        what DryRun says
//	schedule ranks=3 rank=2    what rank 2 enqueues in a step
//	block ranks=4          what ranks have of a block, and send
//	totals ranks=3         the last lines of that, of rank 0
//	waits ranks=3          what its streams wait for, and send
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
		switch c.Cmd {
		case "check":
			return "ok\n"
		case "dry":
			dry, err := run.DryRun()
			if err != nil {
				return err.Error() + "\n"
			}
			return dry.String()
		case "block":
			block, err := run.Block()
			if err != nil {
				return err.Error() + "\n"
			}
			return block.String()
		case "schedule":
			return schedule(t, run, c.Int(t, "rank", 0))
		case "waits":
			return waits(t, run)
		case "totals":
			all := schedule(t, run, 0)
			return all[strings.Index(all, "total: "):]
		}
		return printed(t, run, c.Int(t, "rank", 0))
	})
}

func schedule(t *testing.T, run *Run, rank int) string {
	t.Helper()
	spans, err := run.Schedule(rank)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := trace.WriteSchedule(&b, spans); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// waits is rank 0's schedule with "..." for what is neither a wait nor a collective.
func waits(t *testing.T, run *Run) string {
	t.Helper()
	spans, err := run.Schedule(0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range spans {
		line := fmt.Sprintf("%-15s ...", s.Stream)
		switch s.Kind {
		case trace.Wait:
			line = fmt.Sprintf("%-15s waits for %s", s.Stream, s.Of)
		case trace.Collective:
			line = fmt.Sprintf("%-15s %s of %s", s.Stream, s.Name, s.Group)
		}
		if len(lines) == 0 || lines[len(lines)-1] != line || s.Kind == trace.Collective {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
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

// TestTheRecipeIsTheKeys: the plan's configuration is what recipe_name and the single keys
// say.
func TestTheRecipeIsTheKeys(t *testing.T) {
	of := func(name fp8.RecipeName, change func(*fp8.Float8LinearConfig)) parallel.Float8 {
		c, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		return parallel.Float8{Config: c, Skip: []string{"output"}}
	}
	same := func(*fp8.Float8LinearConfig) {}
	small := func(f parallel.Float8) parallel.Float8 {
		f.SkipSmall = fp8.RecipeTensorwise
		return f
	}
	for args, want := range map[string]parallel.Float8{
		"":                               of(fp8.RecipeTensorwise, same),
		"recipe_name=tensorwise":         of(fp8.RecipeTensorwise, same),
		"recipe_name=rowwise":            of(fp8.RecipeRowwise, same),
		"recipe_name=rowwise_with_gw_hp": of(fp8.RecipeRowwiseWithGWHP, same),
		"recipe_name=delayed":            of(fp8.RecipeDelayed, same),
		"scaling_type_input=delayed":     of("", func(c *fp8.Float8LinearConfig) { c.CastConfigInput.ScalingType = fp8.Delayed }),
		"scaling_type_weight=delayed history_len=3": of("", func(c *fp8.Float8LinearConfig) {
			c.CastConfigWeight.ScalingType, c.DelayedScalingConfig.HistoryLen = fp8.Delayed, 3
		}),
		"scaling_type_grad_output=delayed no_enable_amax_init": of("", func(c *fp8.Float8LinearConfig) {
			c.CastConfigGradOutput.ScalingType, c.EnableAmaxInit = fp8.Delayed, false
		}),
		"round_scales_to_power_of_2":                        of("", func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = true }),
		"recipe_name=rowwise no_round_scales_to_power_of_2": of("rowwise", func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = false }),
		"pad_inner_dim emulate enable_fsdp_float8_all_gather": of("", func(c *fp8.Float8LinearConfig) {
			c.PadInnerDim, c.Emulate, c.EnableFsdpFloat8AllGather = true, true, true
		}),
		"fast_accum=": of("", func(c *fp8.Float8LinearConfig) { c.GemmConfigOutput.UseFastAccum = false }),
		"fast_accum=grad_weight recipe_name=delayed": of("delayed", func(c *fp8.Float8LinearConfig) {
			c.GemmConfigOutput.UseFastAccum, c.GemmConfigGradWeight.UseFastAccum = false, true
		}),
		"fast_accum=output,grad_input":            of("", func(c *fp8.Float8LinearConfig) { c.GemmConfigGradInput.UseFastAccum = true }),
		"filter_fqns=auto_filter_small_kn,output": small(of("", same)),
	} {
		flags := []string{"--model.converters=quantize.linear.float8"}
		for _, a := range strings.Fields(args) {
			flags = append(flags, "--quantize.linear.float8."+a)
		}
		cfg, err := config.Load(flags)
		if err != nil {
			t.Fatal(err)
		}
		p, err := table(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, p.Float8); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", args, diff)
		}
	}
}
