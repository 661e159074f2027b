// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"testing"

	"octet/config"
	"octet/dtype"
)

// TestThePeakIsOfTheFastestUnitOfTheRun, or mfu would pass 100%.
func TestThePeakIsOfTheFastestUnitOfTheRun(t *testing.T) {
	peaks := map[dtype.Type]float64{dtype.Float32: 2, dtype.BFloat16: 3, dtype.Float8E4M3: 5}
	for _, tt := range []struct {
		args []string
		want float64
	}{
		{[]string{"--training.mixed_precision_param=float32"}, 2},
		{nil, 3},
		{[]string{"--training.mixed_precision_param=float32", "--model.converters=quantize.linear.float8"}, 5},
	} {
		cfg, err := config.Load(tt.args)
		if err != nil {
			t.Fatal(err)
		}
		if got := Peak(cfg, func(typ dtype.Type) float64 { return peaks[typ] }); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.args, got, tt.want)
		}
	}
}
