// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"octet/backend/bench"
	"octet/fp8"
)

func benchRecipes(f *benchFlags) func(context.Context, bench.Output) error {
	var names []string
	for _, name := range fp8.RecipeNames() {
		names = append(names, string(name))
	}
	o := bench.RecipesOptions{}
	f.StringSliceVar(&o.Variants, "recipe", names, "what is trained beside bf16, separated by commas: "+bench.VariantHelp())
	f.count(&o.Steps, "steps", 500, "optimizer steps of each run")
	f.count(&o.Seeds, "seeds", 3, "runs of each recipe, with the seeds 0, 1, …")
	f.count(&o.Batch, "batch", 2, "sequences a step")
	f.count(&o.SeqLen, "seq_len", 256, "tokens a sequence")
	f.IntVar(&o.Worst, "worst", 3, "how many of each recipe's casts with the least SQNR are named")
	title := f.String("title", "Llama debug model on Go's source code, mean of all seeds", "text above the picture")
	plot := f.String("plot", "", "picture of the losses to write: .svg or .png")
	f.takesKeys = true
	return func(ctx context.Context, out bench.Output) error {
		to, err := plotTo(*plot)
		if err != nil {
			return err
		}
		o.Device, o.Keys, o.Log = f.device, f.Args(), out.Text
		all, err := bench.Recipes(ctx, out, o)
		if err != nil || *plot == "" {
			return err
		}
		return to.write(bench.Curves(*title, all))
	}
}
