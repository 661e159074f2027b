// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint"
	"octet/comm/record"
	"octet/internal/datadriven"
)

// replicated are so many replicas of a model.
func replicated(n int) []string {
	return []string{fmt.Sprint("--parallelism.data_parallel_replicate_degree=", n)}
}

// TestReplicasTrainAsShards do, under every recipe: four ranks have the same data and the same weights, whoever keeps which
// part of them, so that the first loss has the same bits, float8 scales of activations among what makes it. Gradients are
// summed in another order, which float8 rounds now and then.
func TestReplicasTrainAsShards(t *testing.T) {
	for name, tt := range map[string]struct {
		args  []string
		bound float64
	}{
		"f32":                {f32Args, 1e-6},
		"bf16":               {nil, 1e-5},
		"tensorwise":         {join(f32Args, float8), 1e-5},
		"tensorwise, inline": {join(f32Args, float8, gather[:1]), 1e-5},
		"tensorwise gather":  {join(f32Args, float8, gather), 1e-5},
		"rowwise gather":     {join(f32Args, float8, named("rowwise"), gather[:1]), 1e-5},
		"rowwise_with_gw_hp": {join(f32Args, float8, named("rowwise_with_gw_hp")), 1e-5},
		"delayed":            {join(f32Args, float8, named("delayed")), 1e-5},
		"delayed gather":     {join(f32Args, float8, named("delayed"), gather[:1]), 1e-5},
		"recomputed":         {join(f32Args, float8, gather, []string{"--activation_checkpoint.mode=full"}), 1e-5},
		"anomalies":          {join(f32Args, []string{"--debug.detect_anomaly"}), 1e-6},
	} {
		t.Run(name, func(t *testing.T) {
			args := small(join(tokens, tt.args, []string{"--training.steps=10", "--training.global_batch_size=16", "--training.local_batch_size=2"})...)
			want := runRanks(t, 4, args)
			for _, n := range []int{2, 4} {
				got := runRanks(t, 4, join(args, replicated(n)))
				if got[0].Loss != want[0].Loss || len(got) != 10 {
					t.Errorf("%d replicas: %d steps, the first loss %v, want 10 and %v", n, len(got), got[0].Loss, want[0].Loss)
				}
				within(t, got, losses(want), tt.bound)
				for i, r := range got {
					if w := want[i]; !(relative(r.GradNorm, w.GradNorm) <= 10*tt.bound) || r.Tokens != w.Tokens || r.CommBytes == w.CommBytes {
						t.Errorf("%d replicas, step %d: norm %v of %d tokens, %d bytes sent, want %v of %d tokens, and other bytes than %d", n, r.Step, r.GradNorm, r.Tokens, r.CommBytes, w.GradNorm, w.Tokens, w.CommBytes)
					}
				}
			}
		})
	}
}

// TestReplicasStayAlike, to the bit: what one of them has of a parameter all have, after ten steps whose gradients each had
// other parts of.
func TestReplicasStayAlike(t *testing.T) {
	args := small(join(tokens, float8, gather, replicated(3), []string{"--training.steps=10", "--training.local_batch_size=1", "--training.global_batch_size=12"})...)
	all := make([]map[string][]float32, 6) // by rank
	for rank, err := range onRanks(t, 6, args, func(rank int, tr *Trainer) error {
		all[rank] = map[string][]float32{}
		for range 10 {
			if _, err := tr.Step(); err != nil {
				return err
			}
		}
		for _, p := range tr.model.Params() {
			x, err := read(tr, p.Local())
			if err != nil {
				return err
			}
			all[rank][p.Name] = x
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	for rank, parts := range all {
		for name, got := range parts {
			if want := all[rank%2][name]; !slices.Equal(got, want) {
				t.Errorf("rank %d has other values of %s than rank %d", rank, name, rank%2)
			}
		}
	}
}

// TestReplicasSaveWhatShardsDo: the files of a seed's weights are the same, whoever wrote them.
func TestReplicasSaveWhatShardsDo(t *testing.T) {
	save := func(ranks, replicas int) map[string]checkpoint.CRC {
		folder := t.TempDir()
		course(t, ranks, small(join(tokens, saving(folder, 500), replicated(replicas), []string{"--checkpoint.create_seed_checkpoint"})...))
		return sums(t, folder, 0)
	}
	for _, l := range []struct{ ranks, replicas, like int }{{4, 2, 2}, {3, 3, 1}, {6, 2, 3}} {
		got, want := save(l.ranks, l.replicas), save(l.like, 1)
		if len(got) != len(want) || len(got) == 0 {
			t.Errorf("%d replicas on %d ranks save %d parts, want %d", l.replicas, l.ranks, len(got), len(want))
		}
		for part, sum := range want {
			if got[part] != sum {
				t.Errorf("%d replicas on %d ranks save other bytes of %s", l.replicas, l.ranks, part)
			}
		}
	}
}

// TestCollectivesOfALayout runs testdata/collectives/*.txt: the input of a case is a command line on top of a model of one layer,
// its output what a rank asks of its groups in the second step.
//
//	step ranks=4 rank=3
func TestCollectivesOfALayout(t *testing.T) {
	datadriven.Run(t, "testdata/collectives/*.txt", func(t *testing.T, c *datadriven.Case) string {
		n, rank := c.Int(t, "ranks", 1), c.Int(t, "rank", 0)
		args := small(join(tokens, f32Args, []string{"--model.args.n_layers=1", "--training.steps=2", "--training.local_batch_size=1"}, strings.Fields(c.Input))...)
		logs := make([]*record.Log, n)
		for rank, err := range onRanksOf(t, n, args, func(rank int, j *Job) {
			logs[rank] = &record.Log{Keep: true}
			j.Record = logs[rank]
		}, func(rank int, tr *Trainer) error {
			if _, err := tr.Step(); err != nil {
				return err
			}
			logs[rank].Take()
			_, err := tr.Step()
			return err
		}) {
			if err != nil {
				t.Fatalf("rank %d: %v", rank, err)
			}
		}
		var b strings.Builder
		numbers := map[string]int{}
		for _, call := range logs[rank].Take() {
			if call.Ranks == 1 {
				continue
			}
			numbers[call.Group]++ // of the step, not of the run
			call.Seq = numbers[call.Group]
			fmt.Fprintln(&b, call)
		}
		return b.String()
	})
}
