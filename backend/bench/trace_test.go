// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"octet/config"
	"octet/device"
	"octet/device/trace"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/test/ranks"
	"octet/train"
)

// scheduled is the schedule as text, without the numbers of collectives: those of a run have
// others before them.
func scheduled(t *testing.T, spans []*trace.Span) string {
	t.Helper()
	var b strings.Builder
	if err := trace.WriteSchedule(&b, spans); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(` #\d+ of`).ReplaceAllString(b.String(), " of")
}

// TestARunIsWhatWasScheduled: every rank enqueues in a step, in the same order, what a device
// that computes nothing was asked for; all of it has times, and spans of a stream do not overlap.
func TestARunIsWhatWasScheduled(t *testing.T) {
	for name, keys := range map[string][]string{
		"float8":       float8Keys(),
		"microbatches": {"--training.global_batch_size=8"},
		"replicas":     {"--parallelism.data_parallel_replicate_degree=2", "--parallelism.data_parallel_shard_degree=1"},
		"delayed":      append(float8Keys()[:2], "--quantize.linear.float8.recipe_name=delayed"),
		"tensor":       {"--parallelism.tensor_parallel_degree=2"},
		"recomputed":   {"--activation_checkpoint.mode=full"},
	} {
		t.Run(name, func(t *testing.T) {
			o := StepOptions{Ranks: 2, Warmup: 2, Keys: tinyStep(keys...), Log: io.Discard}
			all, err := Trace(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			for rank := range o.Ranks {
				want, err := Schedule(o, rank)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(scheduled(t, want), scheduled(t, all[rank])); diff != "" {
					t.Errorf("rank %d (-scheduled +enqueued):\n%s", rank, diff)
				}
				apart(t, rank, all[rank])
			}
			chromeHas(t, all)
		})
	}
}

// apart reports spans without times, and those of a stream that overlap.
func apart(t *testing.T, rank int, spans []*trace.Span) {
	t.Helper()
	last := map[string]time.Duration{}
	for _, s := range spans {
		if !s.Timed || s.Begin < last[s.Stream] || s.End < s.Begin {
			t.Errorf("rank %d: %s %s from %v to %v (timed: %v), the one before it ends at %v", rank, s.Stream, s.Name, s.Begin, s.End, s.Timed, last[s.Stream])
		}
		last[s.Stream] = s.End
	}
}

// TestStepsOfSimulatedGPUsHaveTimes: those of the driver's events, of every kernel, wait and
// collective, and it is known what the step went to.
func TestStepsOfSimulatedGPUsHaveTimes(t *testing.T) {
	ranks.Simulated(t)
	o := StepOptions{Ranks: 2, Warmup: 2, Steps: 1, Keys: tinyStep(append(float8Keys(), "--device.name=cuda")...), Log: io.Discard}
	all, err := Trace(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for rank, spans := range all {
		apart(t, rank, spans)
	}
	chromeHas(t, all)
	o.Ranks = 1 // copies as large as the limits need take long here
	p, err := Step(t.Context(), Output{Text: io.Discard}, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range p.Groups() {
		if g.Name != "nothing enqueued" && !(g.MS > 0) {
			t.Errorf("%s took %v ms", g.Group, g.MS)
		}
	}
}

// chromeHas reads the trace back and compares it with the spans: one event each, on a row of
// its stream, of its rank.
func chromeHas(t *testing.T, all map[int][]*trace.Span) {
	t.Helper()
	var file bytes.Buffer
	if err := trace.WriteChrome(&file, all); err != nil {
		t.Fatal(err)
	}
	var got struct {
		TraceEvents []struct {
			Name, Ph, Cat string
			PID, TID      int
			TS, Dur       float64
			Args          map[string]any
		}
	}
	if err := json.Unmarshal(file.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	rows, events := map[[2]int]string{}, map[int]int{}
	for _, e := range got.TraceEvents {
		key := [2]int{e.PID, e.TID}
		switch {
		case e.Name == "thread_name":
			rows[key] = e.Args["name"].(string)
		case e.Ph == "X":
			s := all[e.PID][events[e.PID]]
			events[e.PID]++
			micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
			if rows[key] != s.Stream || e.Cat != s.Kind.String() || e.TS != micro(s.Begin) || e.Dur != micro(s.Took()) {
				t.Fatalf("event %+v on row %q of span %+v", e, rows[key], *s)
			}
			if s.Kind == trace.Collective && (e.Args["group"] != s.Group || e.Args["seq"] != float64(s.Seq) || e.Args["bytes"] != float64(s.Bytes) || len(e.Args["dtype"].([]any)) == 0) {
				t.Errorf("collective %+v of span %+v", e, *s)
			}
		}
	}
	for rank, spans := range all {
		if events[rank] != len(spans) {
			t.Errorf("rank %d: %d events for %d spans", rank, events[rank], len(spans))
		}
	}
}

// TestTracingChangesNoBit of losses and gradient norms, whether it is noted or not.
func TestTracingChangesNoBit(t *testing.T) {
	cfg, err := config.Load(tinyStep(float8Keys()...))
	if err != nil {
		t.Fatal(err)
	}
	run, err := plan.Resolve(cfg, 2)
	if err != nil {
		t.Fatal(err)
	}
	steps := func(decorate func(device.Device) (device.Device, *trace.Log)) (records [2][]metrics.Record) {
		ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
			dev, log := decorate(r.Device)
			tr, err := train.New(train.Job{Run: run, Device: dev, World: r.World, Log: zap.NewNop()})
			if err != nil {
				return err
			}
			for i := range 4 {
				if log != nil && i%2 == 1 {
					log.Start()
				}
				record, err := tr.Step()
				if err != nil {
					return err
				}
				records[r.Rank] = append(records[r.Rank], metrics.Record{Loss: record.Loss, GradNorm: record.GradNorm, CommBytes: record.CommBytes})
				if log != nil {
					log.Stop()
				}
			}
			return tr.Close()
		})
		return records
	}
	want := steps(func(d device.Device) (device.Device, *trace.Log) { return d, nil })
	got := steps(func(d device.Device) (device.Device, *trace.Log) { l := &trace.Log{}; return trace.New(d, l), l })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-plain +traced):\n%s", diff)
	}
}
