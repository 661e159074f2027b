// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"testing"

	"octet/comm/record"
	"octet/config"
	"octet/device"
	"octet/dtype"
	"octet/internal/datadriven"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/test/ranks"
)

// TestCollectives runs testdata/collectives/*.txt: what rank 0 asks of the groups of one name in a step of a model of one
// layer, given by the flags on top.
func TestCollectives(t *testing.T) {
	datadriven.Run(t, "testdata/collectives/*.txt", func(t *testing.T, c *datadriven.Case) string {
		flags := `--model.args.dim=64 --model.args.n_layers=1 --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=128 --model.args.vocab_size=256
			--training.local_batch_size=2 --training.seq_len=8 `
		cfg, err := config.Load(strings.Fields(flags + c.Input))
		if err != nil {
			t.Fatal(err)
		}
		run, err := Resolve(cfg, c.Int(t, "ranks", 1))
		if err != nil {
			t.Fatal(err)
		}
		log := &record.Log{Keep: true}
		ranks.Run(t, run.Ranks, ranks.Options{}, func(r *ranks.Rank) error {
			root, err := run.Build()
			if err != nil {
				return err
			}
			world := r.World
			if r.Rank == 0 {
				world = record.New(world, log)
			}
			m, err := run.Plan.Shard(root, world, r.Device)
			if err != nil {
				return err
			}
			if err := m.Init(1); err != nil {
				return err
			}
			adam, err := optim.NewAdam(r.Device, m.Ctx().Stream, m.Params(), optim.AdamOptions{})
			if err != nil {
				return err
			}
			if r.Rank == 0 {
				log.Take()
			}
			batch, seq := cfg.Training.LocalBatchSize, cfg.Training.SeqLen
			ids := m.Ctx().Pool.Lasting().New(dtype.Int32, batch, seq)
			m.Ctx().Stream.Upload(ids, device.Int32Bytes(make([]int32, batch*seq)))
			_, err = m.Step(parallel.StepOptions{Optimizer: adam, Count: batch * seq}, func(c *nn.Ctx, _ int) {
				nn.CrossEntropy(c, m.Forward(c, nn.Input(ids)), ids)
			}).Wait()
			return err
		})
		var b strings.Builder
		for _, call := range log.Take() {
			if call.Group == c.Vals["group"] {
				_, text, _ := strings.Cut(call.String(), " #")
				_, text, _ = strings.Cut(text, " ")
				fmt.Fprintln(&b, text)
			}
		}
		return b.String()
	})
}
