// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"octet/config"
	"octet/dtype"
)

// Peak is what a rank can multiply at most, in the fastest of the units that the run of
// cfg uses, in FLOP/s: the 100% of mfu. of is Device.Peak.
func Peak(cfg *config.Config, of func(operands dtype.Type) float64) float64 {
	best := of(dtype.Float32)
	if cfg.Training.MixedPrecisionParam == "bfloat16" {
		best = max(best, of(dtype.BFloat16))
	}
	if cfg.Float8Enabled() {
		best = max(best, of(dtype.Float8E4M3))
	}
	return best
}
