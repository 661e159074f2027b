// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"octet/backend"
	"octet/config"
	"octet/metrics"
	"octet/train"
	"octet/train/preflight"
)

// example is a rank of a small run that has been checked; here it is the only one.
func example() (train.Job, *backend.Rank) {
	cfg, err := config.Load(strings.Fields(`--model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.vocab_size=256
		--training.dataset=tokens --training.dataset_path=../testdata/golden/llama_tokens.u16 --training.seq_len=64 --training.steps=30
		--optimizer.lr=1e-2 --lr_scheduler.warmup_steps=5 --model.converters=quantize.linear.float8`))
	if err != nil {
		panic(err)
	}
	run, err := preflight.Check(cfg, 1, 1, 0)
	if err != nil {
		panic(err)
	}
	ranks, err := backend.Local(1, backend.Options{})
	if err != nil {
		panic(err)
	}
	return train.Job{Run: run, Device: ranks[0].Device, World: ranks[0].World, Log: zap.NewNop()}, ranks[0]
}

// report is a metrics.Sink of one's own.
type report struct{}

func (report) Step(r metrics.Record) {
	if r.Step%10 == 0 {
		fmt.Println("step", r.Step, "trained on", r.Tokens, "tokens")
	}
}

func (report) Close() error { return nil }

// Every rank runs its part of the job; a Sink gets one record a step.
func ExampleRun() {
	job, rank := example()
	defer rank.Close()
	if err := train.Run(context.Background(), job, report{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// step 10 trained on 512 tokens
	// step 20 trained on 512 tokens
	// step 30 trained on 512 tokens
}

// A Trainer is for those who want to look at the model after each step.
func ExampleTrainer() {
	job, rank := example()
	defer rank.Close()
	t, err := train.New(job)
	if err != nil {
		panic(err)
	}
	defer t.Close()
	var first, last float64
	for step := range job.Run.Config.Training.Steps {
		record, err := t.Step()
		if err != nil {
			fmt.Println(err)
			return
		}
		if step == 0 {
			first = record.Loss
		}
		last = record.Loss
	}
	fmt.Println("from above 5:", first > 5, "to below 4:", last < 4)
	// Output: from above 5: true to below 4: true
}
