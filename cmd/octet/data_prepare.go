// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"octet/data"
	"octet/internal/pace"
)

// runDataPrepare makes the ids of a data set, for --training.dataset=tokens.
func runDataPrepare(_ context.Context, args []string) error {
	flags := newDataFlags("prepare", "PATH")
	flags.ofTexts()
	dataset := flags.String("dataset", "jsonl", "jsonl, parquet, text or gosource")
	fraction := flags.Float64("validation-fraction", 0, "this part of the documents goes to OUT/validation")
	out := flags.String("out", "", "folder to make: OUT/training is then a data set of tokens")
	if done, err := flags.parse(args); done || err != nil {
		return err
	}
	switch {
	case *out == "" || flags.NArg() > 1 || flags.NArg() == 0 && *dataset != "gosource":
		return flags.wrong("name the folder to make as --out, and one file or folder of the data set")
	case !(*fraction >= 0 && *fraction <= 0.5):
		return flags.wrong("--validation-fraction %g: want a number from 0 to 0.5", *fraction)
	case *fraction > 0 && (*dataset == "text" || *dataset == "gosource"):
		return flags.wrong("--validation-fraction divides documents of jsonl and parquet, not %s", *dataset)
	}
	due := pace.Every(2 * time.Second)
	counts, err := data.PrepareTo(*out, data.Config{
		Dataset: *dataset, Path: flags.Arg(0), VocabSize: data.AnyVocabulary, Assets: flags.assets,
		Field: flags.field, SkipBroken: flags.skip, Fraction: *fraction,
	}, func(what string, done, all int64) {
		if due() {
			say(fmt.Sprintf("%s: %.1f of %.1f MiB %s", *out, float64(done)/(1<<20), float64(all)/(1<<20), what))
		}
	})
	if err != nil {
		return err
	}
	for _, side := range []struct {
		section data.Section
		count   data.Count
	}{{data.Training, counts.Training}, {data.Validation, counts.Validation}} {
		if side.count.Documents > 0 {
			fmt.Printf("%s: %d tokens in %d documents\n", filepath.Join(*out, string(side.section)), side.count.Tokens, side.count.Documents)
		}
	}
	if counts.Broken+counts.Empty > 0 {
		fmt.Printf("left out: %d broken, %d empty\n", counts.Broken, counts.Empty)
	}
	return nil
}
