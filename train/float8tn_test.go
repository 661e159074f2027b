// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"slices"
	"testing"

	"go.uber.org/zap"

	"octet/test/ranks"
)

// TestADeviceOfOneLayoutTrainsToTheSameBits: the golden model in float8 on a
// device that refuses operands whose summed dimension is not contiguous, as GPUs
// do; weights gathered as float8 and as they are, emulated too.
func TestADeviceOfOneLayoutTrainsToTheSameBits(t *testing.T) {
	for name, args := range map[string][]string{
		"bf16, float8 gather": join(float8, gather),
		"f32":                 join(f32Args, float8),
		"emulated":            join(f32Args, float8, emulate),
		"rowwise":             join(float8, named("rowwise"), gather[:1]),
		"rowwise, f32 gather": join(f32Args, float8, named("rowwise")),
		"gw_hp":               join(float8, named("rowwise_with_gw_hp")),
		"no float8":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			run := resolved(t, 2, goldenArgs("4", args...))
			train := func(strict bool) (losses, norms []float64) {
				var records memory
				ranks.Run(t, 2, ranks.Options{Float8TN: strict}, func(r *ranks.Rank) error {
					if got := r.Device.NewStream("ask").Float8TN(); got != strict {
						t.Errorf("the device reads float8 in one layout only: %v, want %v", got, strict)
					}
					sink := &memory{}
					err := Run(context.Background(), Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}, sink)
					if r.Rank == 0 {
						records = *sink
					}
					return err
				})
				for _, r := range records.records {
					losses, norms = append(losses, r.Loss), append(norms, r.GradNorm)
				}
				return losses, norms
			}
			losses, norms := train(false)
			strict, strictNorms := train(true)
			if len(losses) != 20 || !slices.Equal(losses, strict) || !slices.Equal(norms, strictNorms) {
				t.Errorf("losses %v, want %v", strict, losses)
			}
		})
	}
}
