// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"testing"
)

// TestTokensThatAreNoMultipleOfSixteen train in every arithmetic that takes them: float8
// without a device's float8 matmul among them, to about the losses of float32.
func TestTokensThatAreNoMultipleOfSixteen(t *testing.T) {
	losses := func(args ...string) (all []float64) {
		odd := append(join(tokens, []string{"--training.seq_len=7", "--training.local_batch_size=3", "--training.steps=4"}), args...)
		for _, r := range runRanks(t, 2, small(odd...)) {
			all = append(all, r.Loss)
		}
		return all
	}
	want := losses(f32Args...)
	for _, args := range [][]string{nil, join(float8, emulate), join(float8, emulate, gather), {"--activation_checkpoint.mode=full"}} {
		got := losses(args...)
		for i := range want {
			if d := relative(got[i], want[i]); !(d < 5e-3) {
				t.Errorf("%s: losses %v, want about %v", fmt.Sprint(args), got, want)
				break
			}
		}
	}
}
