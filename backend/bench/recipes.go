// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"octet/backend"
	"octet/config"
	"octet/metrics"
	"octet/metrics/chart"
	"octet/models/llama/plan"
	"octet/train"
)

// RecipesOptions are a run of Recipes.
type RecipesOptions struct {
	Device   backend.Options
	Variants []string // beside Reference, which comes first
	Steps    int
	Seeds    int // from 0 on
	Batch    int // sequences a step
	SeqLen   int
	Keys     []string  // of octet train, on top: --section.key=value
	Worst    int       // how many casts of each variant are named
	Log      io.Writer // for what a trainer has to say
}

// keys are those of a run: the debug model as configs/debugmodel.toml trains it,
// in smaller steps.
func (o RecipesOptions) keys(seed int, float8 bool) []string {
	keys := []string{
		"--model.flavor=debugmodel", "--optimizer.lr=2e-3", "--lr_scheduler.warmup_steps=20", "--lr_scheduler.decay_ratio=0.8", "--lr_scheduler.min_lr_factor=0.1",
		"--training.dataset=gosource", "--validation.enable", "--validation.local_batch_size=8", "--validation.steps=16",
		fmt.Sprint("--training.local_batch_size=", o.Batch), fmt.Sprint("--training.seq_len=", o.SeqLen), fmt.Sprint("--validation.seq_len=", o.SeqLen),
		fmt.Sprint("--training.steps=", o.Steps), fmt.Sprint("--metrics.log_freq=", o.Steps), fmt.Sprint("--debug.seed=", seed),
	}
	if float8 {
		keys = append(keys, "--model.converters="+config.Float8Converter, "--quantize.linear.float8.filter_fqns=output", "--debug.float8_stats")
	}
	return append(keys, o.Keys...)
}

// Trained is a run of one variant with one seed.
type Trained struct {
	Variant    string
	Seed       int
	Recipe     string           // as fp8.Recipe prints
	Records    []metrics.Record // of each step
	TrainLoss  float64          // the mean of the last tenth of the steps
	Validation float64          // the loss after the last step
}

// Recipes trains the debug model in bf16 and in each variant on the same batches from
// the same weights, for each seed, one step of each in turn, on one rank. It writes a
// row for each run, and one for the seeds of each variant together; and then which of
// its casts lose most.
func Recipes(ctx context.Context, out Output, o RecipesOptions) ([]Trained, error) {
	names := append([]string{Reference}, o.Variants...)
	rows, err := Output{Text: out.Text, CSV: out.CSV}.table(len(names)*(o.Seeds+1), recipeColumns()...)
	if err != nil {
		return nil, err
	}
	var all []Trained
	for seed := range o.Seeds {
		runs, err := o.train(ctx, names, seed, func(steps int) {
			if out.Progress != nil {
				out.Progress((seed*o.Steps+steps)*len(names), o.Seeds*o.Steps*len(names))
			}
		})
		if err != nil {
			return nil, fmt.Errorf("seed %d: %w", seed, err)
		}
		for _, r := range runs {
			if err := rows.row(summary([]Trained{r}, runs[:1], fmt.Sprint(seed))...); err != nil {
				return nil, err
			}
		}
		all = append(all, runs...)
	}
	for _, name := range names {
		if err := rows.row(summary(of(all, name), of(all, Reference), "mean")...); err != nil {
			return nil, err
		}
	}
	for _, name := range o.Variants {
		for i, c := range worst(of(all, name)) {
			if i == o.Worst {
				break
			}
			fmt.Fprintf(out.Text, "%s: cast %d from the bottom is %s, %s %s: %.1f dB\n", name, i+1, c.Layer, c.Role, c.Recipe, c.SQNR)
		}
	}
	return all, nil
}

// of are the runs of a variant, by seed.
func of(all []Trained, name string) []Trained {
	return slices.DeleteFunc(slices.Clone(all), func(r Trained) bool { return r.Variant != name })
}

// train is one seed.
func (o RecipesOptions) train(ctx context.Context, names []string, seed int, progress func(steps int)) (runs []Trained, err error) {
	trainers := make([]*train.Trainer, len(names))
	for i, name := range names {
		t, recipe, end, err := o.open(name, seed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defer func() { err = errors.Join(err, end()) }()
		trainers[i] = t
		runs = append(runs, Trained{Variant: name, Seed: seed, Recipe: recipe})
	}
	for step := range o.Steps {
		progress(step)
		for turn := range trainers {
			i := (turn + step) % len(trainers)
			record, err := trainers[i].Step()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", names[i], err)
			}
			runs[i].Records = append(runs[i].Records, record)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	progress(o.Steps)
	for i, t := range trainers {
		v, err := t.Validate()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
		r := &runs[i]
		r.Validation = v.Loss
		last := r.Records[len(r.Records)-max(1, len(r.Records)/10):]
		r.TrainLoss = mean(last, func(m metrics.Record) float64 { return m.Loss })
	}
	return runs, nil
}

// open makes the trainer of one run, alone on a device of its own.
func (o RecipesOptions) open(name string, seed int) (t *train.Trainer, recipe string, end func() error, err error) {
	float8, err := variant(name)
	if err != nil {
		return nil, "", nil, err
	}
	cfg, err := config.Load(o.keys(seed, float8 != nil))
	if err != nil {
		return nil, "", nil, err
	}
	run, err := plan.Resolve(cfg, 1)
	if err != nil {
		return nil, "", nil, err
	}
	recipe = Reference
	if float8 != nil {
		run.Plan.Float8.Config, run.Plan.Float8.Precompute = *float8, float8.EnableFsdpFloat8AllGather
		compiled, err := float8.Recipe()
		if err != nil {
			return nil, "", nil, err
		}
		recipe = compiled.String()
	}
	ranks, err := backend.Local(1, o.Device)
	if err != nil {
		return nil, "", nil, err
	}
	t, err = train.New(train.Job{Run: run, Device: ranks[0].Device, World: ranks[0].World, Log: metrics.NewLogger(o.Log, 0)})
	if err != nil {
		return nil, "", nil, errors.Join(err, ranks[0].Close())
	}
	return t, recipe, func() error { return errors.Join(t.Close(), ranks[0].Close()) }, nil
}

// Curves is the picture of the losses: of each variant the mean over its seeds.
func Curves(title string, all []Trained) chart.Chart {
	picture := chart.Chart{Title: title}
	for _, r := range all {
		if r.Seed != all[0].Seed {
			continue
		}
		seeds := of(all, r.Variant)
		run := chart.Run{Name: r.Variant, Records: slices.Clone(r.Records)}
		for i := range run.Records {
			run.Records[i].Loss = mean(seeds, func(s Trained) float64 { return s.Records[i].Loss })
		}
		picture.Runs = append(picture.Runs, run)
	}
	return picture
}

func mean[T any](list []T, of func(T) float64) (m float64) {
	for _, x := range list {
		m += of(x) / float64(len(list))
	}
	return m
}
