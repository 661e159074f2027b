// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

// TestOtherDegreesMultiply: each of them counts, also those that only 1 is legal of yet.
func TestOtherDegreesMultiply(t *testing.T) {
	c := Default()
	p := &c.Parallelism
	p.DataParallelReplicateDegree, p.TensorParallelDegree, p.ContextParallelDegree, p.PipelineParallelDegree = 2, 3, 5, 7
	if got := c.otherDegrees(); got != 2*3*5*7 {
		t.Errorf("the other degrees multiply to %d, want %d", got, 2*3*5*7)
	}
}
