// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"testing"

	"octet/metrics"
)

// TestCastsAreMeasuredInLoggedSteps of a run that asks for it, on every layer, and
// change nothing that is trained.
func TestCastsAreMeasuredInLoggedSteps(t *testing.T) {
	args := []string{
		"--config=../configs/debugmodel.toml", "--job.dump_folder=" + t.TempDir(), "--model.args.dim=64", "--model.args.n_layers=2", "--model.args.n_heads=4", "--model.args.n_kv_heads=2",
		"--training.seq_len=32", "--training.local_batch_size=2", "--training.steps=4", "--metrics.log_freq=3",
	}
	run := func(more ...string) (records []metrics.Record) {
		for rank, err := range onRanks(t, 2, append(args, more...), func(rank int, tr *Trainer) error {
			for range 4 {
				r, err := tr.Step()
				if err != nil {
					return err
				}
				if rank == 0 {
					records = append(records, r)
				}
			}
			return nil
		}) {
			if err != nil {
				t.Fatalf("rank %d: %v", rank, err)
			}
		}
		return records
	}
	plain, watched := run(), run("--debug.float8_stats")
	for i, r := range watched {
		if r.Loss != plain[i].Loss || r.GradNorm != plain[i].GradNorm || plain[i].Casts != nil {
			t.Errorf("step %d: loss %v, norm %v; without float8_stats %v, %v, casts %v", r.Step, r.Loss, r.GradNorm, plain[i].Loss, plain[i].GradNorm, plain[i].Casts)
		}
		if logged := r.Step == 1 || r.Step == 3; logged != (len(r.Casts) > 0) {
			t.Errorf("step %d has %d casts", r.Step, len(r.Casts))
		}
	}
	// In each of 2 layers w of 7, go of 7, and i of wq (wk and wv share it), wo, w1 (w3 shares it), w2.
	seen := map[string]bool{}
	for _, c := range watched[2].Casts {
		seen[fmt.Sprint(c.Layer, " ", c.Role)] = true
		if c.Amax <= 0 || c.SQNR < 15 || c.Recipe != map[string]string{"i": "dyn_ten_e4m3", "w": "dyn_ten_e4m3", "go": "dyn_ten_e5m2"}[c.Role] {
			t.Errorf("%+v", c)
		}
	}
	if len(seen) != 2*(7+7+4) || !seen["layers.1.feed_forward.w2 go"] || !seen["layers.0.attention.wq i"] || seen["layers.0.attention.wk i"] {
		t.Errorf("%d casts: %v", len(seen), seen)
	}
}
