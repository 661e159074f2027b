// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"octet/test/ranks"
)

// TestTracesOfSteps: each rank has its own, of as many steps as are active, and nothing of
// the run is another.
func TestTracesOfSteps(t *testing.T) {
	run := func(more ...string) (kept memory) {
		run := resolved(t, 2, small(join(tokens, []string{"--training.local_batch_size=2", "--training.steps=5"}, more)...))
		ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
			sink := &memory{}
			err := Run(context.Background(), Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}, sink)
			if r.Rank == 0 {
				kept = *sink
			}
			return err
		})
		return kept
	}
	plain := run()
	for active := 1; active <= 2; active++ {
		dump := t.TempDir()
		traced := run("--profiling.enable_profiling", "--profiling.profile_freq=2", fmt.Sprint("--profiling.profiler_active=", active), "--job.dump_folder="+dump)
		for i, r := range traced.records {
			if r.Loss != plain.records[i].Loss || r.GradNorm != plain.records[i].GradNorm {
				t.Errorf("step %d: loss %v and norm %v, without traces %v and %v", i+1, r.Loss, r.GradNorm, plain.records[i].Loss, plain.records[i].GradNorm)
			}
		}
		for _, step := range []int{2, 4} {
			for rank := range 2 {
				var file struct {
					TraceEvents []struct {
						Name string
						PID  int
					}
				}
				content, err := os.ReadFile(filepath.Join(dump, "profile_traces", fmt.Sprint("iteration_", step), fmt.Sprintf("rank%d_trace.json", rank)))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(content, &file); err != nil {
					t.Fatal(err)
				}
				updates := 0
				for _, e := range file.TraceEvents {
					if e.PID != rank {
						t.Fatalf("the trace of rank %d has %+v", rank, e)
					}
					if e.Name == "AdamW" {
						updates++
					}
				}
				if updates != active {
					t.Errorf("rank %d, step %d: a trace of %d steps, want %d", rank, step, updates, active)
				}
			}
		}
		if traces, _ := filepath.Glob(filepath.Join(dump, "profile_traces", "*")); len(traces) != 2 {
			t.Errorf("traces %v, want two", traces)
		}
	}
}
