// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"slices"

	"octet/metrics"
)

func recipeColumns() []column {
	return []column{{"recipe", 24}, {"seed", 4}, {"scaling_repr", 0}, {"train_loss", 10}, {"validation_loss", 15}, {"validation_ratio", 16},
		{"tokens_per_s", 12}, {"speed", 6}, {"sqnr_db", 7}, {"worst_sqnr_db", 13}, {"worst_layer", 30}, {"worst_role", 10}}
}

// summary is the row of a variant's runs, of one seed or of all, beside those of bf16 of
// the same seeds. Losses and their ratio are means over the seeds; tokens a second is
// of the median step, speed the median over the steps of how much longer bf16's took in
// the same turn; sqnr_db is the median over all casts of the last step.
func summary(runs, reference []Trained, seed string) []any {
	loss := func(r Trained) float64 { return r.Validation }
	var took, speed []float64
	tokens := 0.0
	for i, r := range runs {
		for j, step := range r.Records {
			took, tokens = append(took, step.StepMS/1e3), float64(step.Tokens)
			speed = append(speed, reference[i].Records[j].StepMS/step.StepMS)
		}
	}
	row := []any{runs[0].Variant, seed, runs[0].Recipe, mean(runs, func(r Trained) float64 { return r.TrainLoss }), mean(runs, loss), mean(runs, loss) / mean(reference, loss),
		tokens / median(took), median(speed), nil, nil, nil, nil}
	if casts := worst(runs); len(casts) > 0 {
		copy(row[8:], []any{casts[len(casts)/2].SQNR, casts[0].SQNR, casts[0].Layer, casts[0].Role})
	}
	return row
}

// worst are the casts of the runs' last steps, of least SQNR first; that of a cast is the
// mean over the runs.
func worst(runs []Trained) (all []metrics.Cast) {
	all = slices.Clone(runs[0].Records[len(runs[0].Records)-1].Casts)
	for i := range all {
		all[i].SQNR = mean(runs, func(r Trained) float64 { return r.Records[len(r.Records)-1].Casts[i].SQNR })
	}
	slices.SortFunc(all, func(a, b metrics.Cast) int { return cmp.Compare(a.SQNR, b.SQNR) })
	return all
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}
