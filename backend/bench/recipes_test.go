// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"octet/backend"
	"octet/fp8"
	"octet/metrics"
	"octet/metrics/chart"
	"octet/nn"
)

// tinyModel trains three steps of a model of one layer.
func tinyModel(variants ...string) RecipesOptions {
	return RecipesOptions{
		Variants: variants, Steps: 3, Seeds: 2, Batch: 2, SeqLen: 32, Worst: 2, Log: io.Discard,
		Keys: []string{"--model.args.dim=32", "--model.args.n_layers=1", "--model.args.n_heads=2", "--model.args.n_kv_heads=2", "--model.args.ffn_hidden_dim=64", "--validation.steps=1",
			"--training.dataset=tokens", "--training.dataset_path=../../testdata/golden/llama_tokens.u16",
			"--validation.dataset=tokens", "--validation.dataset_path=../../testdata/golden/llama_tokens.u16"},
	}
}

// TestRecipesTrainsEachVariantWithEachSeed on the same data from the same weights, says
// what became of it, and does it again to the same bits.
func TestRecipesTrainsEachVariantWithEachSeed(t *testing.T) {
	var variants []string
	for _, name := range fp8.RecipeNames() {
		variants = append(variants, string(name))
	}
	variants = append(variants, "tensorwise+gather", "rowwise+gather")
	var all, again []Trained
	var text bytes.Buffer
	o := tinyModel(variants...)
	rows := measuredRecipes(t, &text, o, &all)
	measuredRecipes(t, io.Discard, o, &again)
	n := len(variants) + 1
	if len(all) != 2*n || len(rows) != 3*n {
		t.Fatalf("%d runs and %d rows of %d variants with 2 seeds", len(all), len(rows), n)
	}
	losses := map[string]string{}
	for i, r := range all {
		if got := again[i]; got.Validation != r.Validation || got.TrainLoss != r.TrainLoss || got.Records[2].GradNorm != r.Records[2].GradNorm {
			t.Errorf("%s, seed %d: losses %v, %v; the second time %v, %v", r.Variant, r.Seed, r.TrainLoss, r.Validation, got.TrainLoss, got.Validation)
		}
		key := fmt.Sprint(r.Validation, r.Records[1].Loss, r.Records[1].GradNorm, r.Records[2].Loss, r.Records[2].GradNorm)
		if other, ok := losses[key]; ok {
			t.Errorf("%s with seed %d has trained as %s", r.Variant, r.Seed, other)
		}
		losses[key] = r.Variant + " with seed " + strconv.Itoa(r.Seed)
		row := rows[i]
		if row["recipe"] != r.Variant || row["seed"] != strconv.Itoa(r.Seed) || row["scaling_repr"] != r.Recipe {
			t.Errorf("row %d is %v, want %s with seed %d", i, row, r.Variant, r.Seed)
		}
		near(t, "train_loss", number(t, row, "train_loss"), r.Records[2].Loss)
		near(t, "validation_ratio", number(t, row, "validation_ratio"), r.Validation/all[i/n*n].Validation)
		if ratio := number(t, row, "validation_ratio"); ratio < 0.99 || ratio > 1.01 {
			t.Errorf("%s: validation loss %v of bf16's", r.Variant, ratio)
		}
		number(t, row, "tokens_per_s")
		number(t, row, "speed")
		if (row["worst_layer"] == "") != (r.Variant == Reference) {
			t.Errorf("%s: worst layer %q", r.Variant, row["worst_layer"])
		}
	}
	for i, row := range rows[2*n:] {
		if row["seed"] != "mean" || row["recipe"] != all[i].Variant {
			t.Errorf("row %v, want the mean of %s", row, all[i].Variant)
		}
		near(t, "mean validation_loss", number(t, row, "validation_loss"), (all[i].Validation+all[n+i].Validation)/2)
	}
	if got := strings.Count(text.String(), "from the bottom is layers.0."); got != 2*len(variants) {
		t.Errorf("%d casts are named, want 2 of each of %d variants:\n%s", got, len(variants), &text)
	}
	picture := Curves("title", all[:6])
	if len(picture.Runs) != 6 || picture.Runs[1].Name != "tensorwise" || picture.Runs[1].Records[2].Loss != all[1].Records[2].Loss {
		t.Errorf("picture %+v", picture)
	}
	both := Curves("title", []Trained{all[0], all[n]})
	near(t, "the picture's mean", both.Runs[0].Records[0].Loss, (all[0].Records[0].Loss+all[n].Records[0].Loss)/2)
	if err := picture.Write(io.Discard, chart.SVG); err != nil {
		t.Error(err)
	}
}

func measuredRecipes(t *testing.T, text io.Writer, o RecipesOptions, all *[]Trained) []map[string]string {
	t.Helper()
	return measured(t, func(out Output) (err error) {
		told := 0
		to := Output{Text: io.MultiWriter(out.Text, text), CSV: out.CSV, Progress: func(done, total int) {
			if want := o.Seeds * o.Steps * (len(o.Variants) + 1); total != want || done < told {
				t.Errorf("progress %d/%d after %d, want up to %d", done, total, told, want)
			}
			told = done
		}}
		*all, err = Recipes(t.Context(), to, o)
		return err
	})
}

func TestVariantsAreNamed(t *testing.T) {
	if c, err := variant(Reference); c != nil || err != nil {
		t.Errorf("%s is %+v, %v", Reference, c, err)
	}
	c, err := variant("rowwise+gather+fast")
	if err != nil || !c.EnableFsdpFloat8AllGather || !c.GemmConfigGradInput.UseFastAccum || !c.GemmConfigGradWeight.UseFastAccum || c.CastConfigInput.ScalingGranularity != fp8.Axiswise {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := variant("tensorwise+slow"); err != nil || c.GemmConfigOutput.UseFastAccum {
		t.Errorf("%+v, %v", c, err)
	}
	for name, want := range map[string]string{
		"blockwise": `there is no recipe "blockwise"`, "tensorwise+often": `there is no "often" to add`, "rowwise_with_gw_hp+gather": "all_gather",
	} {
		if _, err := variant(name); err == nil || !strings.Contains(strings.ToLower(strings.ReplaceAll(err.Error(), "AllGather", "all_gather")), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, err := Recipes(t.Context(), Output{Text: io.Discard}, tinyModel("tensorwise+often")); err == nil || !strings.Contains(err.Error(), "seed 0: tensorwise+often: ") {
		t.Errorf("error %v names no variant", err)
	}
}

func TestTheSummaryOfRuns(t *testing.T) {
	run := func(name string, seed int, validation float64, ms ...float64) Trained {
		r := Trained{Variant: name, Seed: seed, Recipe: name, TrainLoss: validation + 1, Validation: validation}
		for _, m := range ms {
			r.Records = append(r.Records, metrics.Record{StepMS: m, Tokens: 100})
		}
		return r
	}
	reference := []Trained{run(Reference, 0, 2, 10, 10, 10), run(Reference, 1, 4, 10, 10, 1000)}
	runs := []Trained{run("r", 0, 3, 20, 20, 20), run("r", 1, 6, 20, 20, 2000)}
	for i, db := range []float64{20, 30} {
		last := &runs[i].Records[2]
		last.Casts = []metrics.Cast{{Layer: "a", Role: nn.In.String(), SQNR: db}, {Layer: "b", Role: nn.GradOut.String(), SQNR: 5 + db/10}, {Layer: "c", SQNR: 50}}
	}
	got := summary(runs, reference, "mean")
	want := []any{"r", "mean", "r", 5.5, 4.5, 1.5, 5000., 0.5, 25., 7.5, "b", "go"}
	if !slices.Equal(got, want) {
		t.Errorf("summary\n%v, want\n%v", got, want)
	}
}

// TestA20MillionParameterModelLearnsInEveryRecipe: the last losses of 500 steps on real
// text, means of three seeds, lie within one per cent of bf16's. With one seed they do not
// always: two runs that differ by roundings end as far apart as that.
func TestA20MillionParameterModelLearnsInEveryRecipe(t *testing.T) {
	if os.Getenv("OCTET_HEAVY") == "" {
		t.Skip("trains fifteen models of 20 million parameters for 500 steps, half an hour on two cores; set OCTET_HEAVY (make heavy)")
	}
	variants := []string{"tensorwise+gather", "rowwise+gather", "rowwise_with_gw_hp", "delayed+gather"}
	all, err := Recipes(t.Context(), Output{Text: t.Output()}, RecipesOptions{
		Device: backend.Options{Threads: runtime.NumCPU()}, Variants: variants,
		Steps: 500, Seeds: 3, Batch: 2, SeqLen: 128, Log: io.Discard,
		Keys: []string{"--model.args.dim=512", "--model.args.n_layers=5", "--model.args.n_heads=8", "--model.args.n_kv_heads=8", "--model.args.ffn_hidden_dim=1664"},
	})
	if err != nil {
		t.Fatal(err)
	}
	train, validation := func(r Trained) float64 { return r.TrainLoss }, func(r Trained) float64 { return r.Validation }
	reference := of(all, Reference)
	for _, r := range reference {
		if drop := r.Records[0].Loss - r.TrainLoss; drop < 3 {
			t.Fatalf("%s has learned little with seed %d: the loss went down by %.2f", Reference, r.Seed, drop)
		}
	}
	for _, name := range variants {
		for what, loss := range map[string]func(Trained) float64{"training": train, "validation": validation} {
			got, want := mean(of(all, name), loss), mean(reference, loss)
			t.Logf("%s: %s loss %.4f, %.4f of bf16's", name, what, got, got/want)
			if got > 1.01*want {
				t.Errorf("%s: %s loss %.4f is above one per cent over bf16's %.4f", name, what, got, want)
			}
		}
	}
}
