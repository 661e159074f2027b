// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"testing"

	"go.uber.org/zap"

	"octet/test/ranks"
)

// BenchmarkDebugModelStep is a step of configs/debugmodel.toml with a local
// batch of 4 sequences of 512, on goroutine ranks of one thread each.
func BenchmarkDebugModelStep(b *testing.B) {
	for _, kind := range []struct {
		name string
		args []string
	}{
		{"float8", join(float8, gather)},
		{"delayed", join(float8, named("delayed"), gather[:1])},
		{"rowwise", join(float8, named("rowwise"), gather[:1])},
		{"rowwise_with_gw_hp", join(float8, named("rowwise_with_gw_hp"))},
		{"bf16", nil},
		{"f32", f32Args},
	} {
		for _, world := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/ranks=%d", kind.name, world), func(b *testing.B) {
				args := append([]string{"--training.local_batch_size=4", "--training.seq_len=512", "--training.steps=1000"}, kind.args...)
				benchRanks(b, world, args)
			})
		}
	}
}

func benchRanks(b *testing.B, n int, args []string) {
	run := resolved(b, n, args)
	list := ranks.Open(b, n, ranks.Options{})
	trainers := make([]*Trainer, n)
	each := func(main func(r *ranks.Rank) error) {
		for rank, err := range ranks.Each(list, main) {
			if err != nil {
				b.Fatalf("rank %d: %v", rank, err)
			}
		}
	}
	each(func(r *ranks.Rank) (err error) {
		trainers[r.Rank], err = New(Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()})
		return err
	})
	tokens := 4 * 512 * n
	b.ReportAllocs() // of all ranks together
	for b.Loop() {
		each(func(r *ranks.Rank) error {
			_, err := trainers[r.Rank].Step()
			return err
		})
	}
	b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}
