// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"octet/config"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/test/ranks"
	"octet/train/preflight"
)

// TestAnyValueOfAnyKeyIsTrainedOrRefused: what Check lets through trains a step, or ends with an error; nothing panics,
// and what is asked to stop stops.
func TestAnyValueOfAnyKeyIsTrainedOrRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds long")
	}
	values := []string{"", "0", "1", "3", "17", "64", "0.5", "1e-30", "1e15", "100000", "inf", "true", "9223372036854775807", "-1", "♥\x1b[31m\x00", strings.Repeat("long", 1<<10)}
	stop := errors.New("long enough")
	for _, key := range config.Keys() {
		if key == "job.config_file" {
			continue
		}
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			for _, value := range values {
				var run *plan.Run
				cfg, err := config.Load(small(join(tokens, []string{"--training.steps=1", "--training.local_batch_size=2", "--job.dump_folder=" + t.TempDir(), "--" + key + "=" + value})...))
				if err == nil {
					run, err = preflight.Check(cfg, 1, 1, 4<<30)
				}
				if err != nil {
					if strings.Contains(err.Error(), "panic") {
						t.Errorf("%.40q: %v", value, err)
					}
					continue
				}
				// Each in a test of its own, whose end frees the memory.
				t.Run(fmt.Sprintf("%.40q", value), func(t *testing.T) {
					ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, stop)
					defer cancel()
					err := ranks.Each(ranks.Open(t, 1, ranks.Options{}), func(r *ranks.Rank) error {
						return Run(ctx, Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}, metrics.Tee())
					})[0]
					if err != nil && strings.Contains(err.Error(), "panic") {
						t.Error(err)
					}
				})
			}
		})
	}
}
