// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"octet/comm"
	"octet/comm/record"
	"octet/config"
	"octet/dtype"
	"octet/internal/datadriven"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/test/ranks"
)

// TestLog runs testdata/*.txt: the input of a case is the end of a command
// line, the output all that the ranks log before the first step.
func TestLog(t *testing.T) {
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		n := c.Int(t, "ranks", 1)
		run := resolved(t, n, small(join(tokens, strings.Fields(c.Input))...))
		core, logs := observer.New(zap.DebugLevel)
		ranks.Run(t, n, ranks.Options{ISA: "portable"}, func(r *ranks.Rank) error {
			return Run(context.Background(), Job{Run: run, Device: r.Device, World: r.World, Log: zap.New(core)}, metrics.Tee())
		})
		var b strings.Builder
		for _, entry := range logs.All() {
			fmt.Fprintf(&b, "%-5s %s\n", entry.Level.CapitalString(), entry.Message)
		}
		return b.String()
	})
}

// TestATiedTableIsMultipliedBy: only a table that is looked up alone costs no arithmetic.
func TestATiedTableIsMultipliedBy(t *testing.T) {
	for tied, want := range map[string]metrics.ModelSize{
		"true":  {Params: 1235814400, Layers: 16, Heads: 32, HeadDim: 64, SeqLen: 8},
		"false": {Params: 1235814400 + 128256*2048, EmbeddingParams: 128256 * 2048, Layers: 16, Heads: 32, HeadDim: 64, SeqLen: 8},
	} {
		cfg, err := config.Load([]string{"--model.flavor=1B", "--training.seq_len=8", "--model.args.enable_weight_tying=" + tied})
		if err != nil {
			t.Fatal(err)
		}
		run, err := plan.Resolve(cfg, 1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, ModelSize(run)); diff != "" {
			t.Errorf("tied %s (-want +got):\n%s", tied, diff)
		}
	}
}

// TestMetricsFile has one object a step, with every digit.
func TestMetricsFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	run := resolved(t, 2, small(join(tokens, []string{"--training.local_batch_size=2", "--training.steps=3", "--job.dump_folder=" + folder})...))
	dump, err := metrics.OpenFolder(folder, metrics.Owner{}, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	defer dump.Close()
	var kept memory
	ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
		job := Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}
		sink, err := NewSink(job, dump, metrics.NewProgress(&bytes.Buffer{}, 3, 0))
		if err != nil {
			return err
		}
		if r.Rank == 0 {
			sink = metrics.Tee(sink, &kept)
		}
		return errors.Join(Run(context.Background(), job, sink), sink.Close())
	})
	text, err := os.ReadFile(filepath.Join(folder, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3:\n%s", len(lines), text)
	}
	for i, line := range lines {
		var object map[string]float64
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var keys []string
		for k, v := range object {
			keys = append(keys, k)
			if v <= 0 && (k != "data_ms" || v < 0) { // a batch may be there in no time
				t.Errorf("step %d: %s = %v", i+1, k, v)
			}
		}
		slices.Sort(keys)
		if want := strings.Fields("comm_bytes data_ms grad_norm loss lr max_loss rss_mb step step_ms tokens tokens_per_s tokens_seen"); !slices.Equal(keys, want) {
			t.Errorf("keys %q, want %q", keys, want)
		}
		r := kept.records[i]
		if object["step"] != float64(i+1) || object["loss"] != r.Loss || object["grad_norm"] != r.GradNorm || object["tokens"] != 2*2*16 {
			t.Errorf("%s\nis not\n%+v", line, r)
		}
	}
	// Warm-up of two steps to 1e-2, then linear decay over the one that is left.
	for i, want := range []float64{0.5e-2, 1e-2, 1e-2} {
		if got := kept.records[i].LR; got != want {
			t.Errorf("step %d: learning rate %v, want %v", i+1, got, want)
		}
	}
}

// TestWhatAGPUDoesIsInTheRecord of the rank that reports, until it can no longer be asked; that is told once.
func TestWhatAGPUDoesIsInTheRecord(t *testing.T) {
	core, said := observer.New(zap.WarnLevel)
	args := small(join(tokens, []string{"--training.local_batch_size=2", "--training.steps=4"})...)
	asked := 0
	for rank, err := range onRanksOf(t, 2, args, func(rank int, j *Job) {
		if rank == 0 {
			j.Log = zap.New(core)
		}
		j.GPU = func() (metrics.GPU, error) {
			if rank != 0 {
				t.Error("a rank that does not report asks its GPU")
			}
			if asked++; asked > 2 {
				return metrics.GPU{}, errors.New("the GPU is lost")
			}
			return metrics.GPU{Utilization: asked}, nil
		}
	}, func(rank int, tr *Trainer) error {
		for step := range 4 {
			r, err := tr.Step()
			if err != nil {
				return err
			}
			if there := rank == 0 && step < 2; (r.GPU != nil) != there || there && r.GPU.Utilization != step+1 {
				t.Errorf("rank %d, step %d: GPU %+v", rank, step+1, r.GPU)
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	const want = "memory and utilization of the GPU are not reported from step 3 on: the GPU is lost"
	if all := said.FilterMessage(want).All(); len(all) != 1 {
		t.Errorf("%q was told %d times", want, len(all))
	}
}

// TestDelayedScalesTakeOneCollectiveAStep, of three words a Linear; the first step one more
// for each cast, of which Linears that share an input have one.
func TestDelayedScalesTakeOneCollectiveAStep(t *testing.T) {
	const linears, casts = 14, 8 + 14 + 14 // of inputs, weights and gradients
	for _, more := range [][]string{nil, gather[:1]} {
		args := small(join(tokens, float8, named("delayed"), more, []string{"--training.local_batch_size=2", "--training.global_batch_size=8", "--training.steps=3"})...)
		logs := make([]record.Log, 2)
		for rank, err := range onRanksOf(t, 2, args, func(rank int, j *Job) {
			logs[rank].Keep = true
			j.Record = &logs[rank]
		}, func(rank int, tr *Trainer) error {
			logs[rank].Take()
			for step := range 3 {
				if _, err := tr.Step(); err != nil {
					return err
				}
				words, syncs := 0, 0
				for _, c := range logs[rank].Take() {
					if c.Kind == comm.AllReduce && c.Op == comm.Max {
						switch _, what, _ := strings.Cut(c.String(), "all-reduce "); what {
						case "max int32[1], 4 bytes":
							words++
						case fmt.Sprintf("max int32[%d], %d bytes", 3*linears, 4*3*linears):
							syncs++
						default:
							t.Errorf("rank %d, step %d: %s", rank, step+1, what)
						}
					}
				}
				want := 0
				if step == 0 {
					want = casts
				}
				if words != want || syncs != 1 {
					t.Errorf("rank %d, step %d: %d all-reduces of a word and %d of all, want %d and 1", rank, step+1, words, syncs, want)
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("rank %d: %v", rank, err)
			}
		}
	}
}

// TestCollectivesOfAStep lists every collective of a float8 step on two ranks,
// and compares their bytes with those of the metrics and of the plan.
func TestCollectivesOfAStep(t *testing.T) {
	args := small(join(tokens, float8, gather, []string{"--training.local_batch_size=2", "--training.steps=3"})...)
	logs := make([]record.Log, 2)
	for rank, err := range onRanksOf(t, 2, args, func(rank int, j *Job) {
		logs[rank].Keep = true
		j.Record = &logs[rank]
	}, func(rank int, tr *Trainer) error {
		logs[rank].Take() // of the scales of the first weights
		for range 3 {
			r, err := tr.Step()
			if err != nil {
				return err
			}
			var bytes int64
			var others []string
			calls := map[comm.Kind]int{}
			for _, c := range logs[rank].Take() {
				bytes += c.Bytes()
				calls[c.Kind]++
				if c.Kind == comm.AllReduce {
					_, what, _ := strings.Cut(c.String(), "all-reduce ")
					others = append(others, what)
				}
			}
			if bytes != r.CommBytes {
				t.Errorf("rank %d, step %d: %d bytes sent, the record says %d", rank, r.Step, bytes, r.CommBytes)
			}
			traffic := tr.model.Traffic()
			planned := traffic.ReduceScatter + 4*14 + 4*2 + (4 + 4)
			for _, n := range traffic.AllGather {
				planned += n
			}
			if int64(planned) != bytes || traffic.AllGather[dtype.Float8E4M3] == 0 {
				t.Errorf("rank %d, step %d: %d bytes sent, %d planned", rank, r.Step, bytes, planned)
			}
			if diff := cmp.Diff(map[comm.Kind]int{comm.AllGather: 8, comm.ReduceScatter: 4, comm.AllReduce: 3}, calls); diff != "" {
				t.Errorf("rank %d, step %d (-want +got):\n%s", rank, r.Step, diff)
			}
			// The tokens, the norm, and the scales of 14 weights; the losses and their tokens are gathered.
			if diff := cmp.Diff([]string{"sum int32[1], 4 bytes", "sum float32[1], 4 bytes", "max int32[14], 56 bytes"}, others); diff != "" {
				t.Errorf("rank %d, step %d (-want +got):\n%s", rank, r.Step, diff)
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
