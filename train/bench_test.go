// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"sync"
	"testing"

	"go.uber.org/zap"

	"octet/comm/local"
	"octet/config"
	"octet/device/cpu"
)

// BenchmarkDebugModelStep is a step of configs/debugmodel.toml with a local
// batch of 4 sequences of 512, on goroutine ranks of one thread each.
func BenchmarkDebugModelStep(b *testing.B) {
	for _, kind := range []struct {
		name string
		args []string
	}{
		{"float8", join(float8, gather)},
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

func benchRanks(b *testing.B, world int, args []string) {
	cfg, err := config.Load(args)
	if err != nil {
		b.Fatal(err)
	}
	trainers := make([]*Trainer, world)
	each := func(f func(rank int) error) {
		var wg sync.WaitGroup
		for rank := range world {
			wg.Go(func() {
				if err := f(rank); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	comms := local.New(world, local.Options{})
	each(func(rank int) (err error) {
		dev, err := cpu.Open(cpu.Options{})
		if err != nil {
			return err
		}
		b.Cleanup(func() { dev.Close() })
		trainers[rank], err = New(Job{Config: cfg, Device: dev, World: comms[rank], Log: zap.NewNop()})
		return err
	})
	if b.Failed() {
		return
	}
	tokens := 4 * 512 * world
	b.ReportAllocs() // of all ranks together
	for b.Loop() {
		each(func(rank int) error {
			_, err := trainers[rank].Step()
			return err
		})
	}
	b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}
