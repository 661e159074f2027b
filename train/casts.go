// SPDX-License-Identifier: Apache-2.0

package train

import (
	"octet/fp8"
	"octet/metrics"
)

// watching reports whether the casts of the present step are measured: of one that the
// console tells of, where debug.float8_stats asks for it.
func (t *Trainer) watching() bool {
	return t.watch != nil && (t.step == 1 || t.step%t.cfg.Metrics.LogFreq == 0)
}

// castRecords is what was measured, as a record has it.
func castRecords(measured []fp8.CastStats) (all []metrics.Cast) {
	for _, s := range measured {
		all = append(all, metrics.Cast{
			Layer: s.FQN, Role: s.Role.String(), Recipe: s.Cast.String(), Amax: s.Amax, MinScale: s.MinScale, MaxScale: s.MaxScale,
			Saturated: s.Saturated, Underflowed: s.Underflowed, SQNR: s.SQNR,
		})
	}
	return all
}
