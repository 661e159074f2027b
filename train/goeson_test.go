// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"path/filepath"
	"testing"

	"octet/metrics"
)

// TestARunGoesOnInAnyLayout: it is saved by one and gone on with by the next, back to one rank, and comes to what an undisturbed run does: weights, moments and delayed scales are saved
// once, by one of those that have them, and read by whoever needs which part. Its last weights are exported, and begin another run.
func TestARunGoesOnInAnyLayout(t *testing.T) {
	const each = 3 // steps
	layouts := []struct{ ranks, replicas, tensor int }{{1, 1, 1}, {2, 1, 1}, {4, 2, 1}, {2, 1, 2}, {3, 1, 1}, {8, 4, 1}, {4, 2, 2}, {4, 1, 4}, {6, 2, 1}, {1, 1, 1}}
	for name, tt := range map[string]struct {
		kind  []string
		bound float64
	}{"f32": {f32Args, 1e-4}, "gathered in float8": {join(float8, gather), 2e-2}, "delayed": {join(float8, named("delayed")), 2e-2}} {
		t.Run(name, func(t *testing.T) {
			total := each * len(layouts)
			args := func(folder string, ranks, replicas, tensor, steps int) []string {
				return small(join(tokens, tt.kind, saving(folder, each), replicated(replicas), sharedBy(tensor), []string{
					"--model.args.dim=64", "--model.args.ffn_hidden_dim=128", "--training.global_batch_size=24", fmt.Sprint("--lr_scheduler.total_steps=", total), "--checkpoint.last_save_in_hf",
					fmt.Sprint("--training.steps=", steps), fmt.Sprint("--training.local_batch_size=", 24*tensor/ranks)})...)
			}
			want := course(t, 1, args(t.TempDir(), 1, 1, 1, total))
			folder := t.TempDir()
			var got []metrics.Record
			for i, l := range layouts {
				got = append(got, course(t, l.ranks, args(folder, l.ranks, l.replicas, l.tensor, each*(i+1)))...)
			}
			within(t, got, losses(want), tt.bound)
			for i, r := range got {
				if r.TokensSeen != want[i].TokensSeen {
					t.Errorf("step %d: %d tokens so far, want %d", i+1, r.TokensSeen, want[i].TokensSeen)
				}
			}
			from := total - each
			other := join(args(t.TempDir(), 2, 1, 2, 1), []string{"--checkpoint.initial_load_in_hf", "--checkpoint.initial_load_path=" + filepath.Join(folder, "checkpoint", fmt.Sprintf("step-%d-hf", from))})
			if first := course(t, 2, other)[0].Loss; !(first < want[from/2].Loss) {
				t.Errorf("exported weights of step %d have a loss of %v, step %d had %v", from, first, from/2+1, want[from/2].Loss)
			}
		})
	}
}

// TestACheckpointGoesOverToAnyLayout: what four ranks in two pairs have saved goes on as one rank's run does, on ranks that share modules, or
// weights, or nothing; and back.
func TestACheckpointGoesOverToAnyLayout(t *testing.T) {
	args := func(folder string, steps int, more ...string) []string {
		return small(join(tokens, f32Args, saving(folder, 3), more, []string{fmt.Sprint("--training.steps=", steps), "--lr_scheduler.total_steps=9", "--training.global_batch_size=12"})...)
	}
	want := runRanks(t, 1, args(t.TempDir(), 9, "--training.local_batch_size=12"))
	layouts := []sharing{
		{"shard 2, tensor 2", 4, sharedBy(2, "--training.local_batch_size=3")},
		{"tensor 4", 4, sharedBy(4, "--training.local_batch_size=6")},
		{"one rank", 1, []string{"--training.local_batch_size=12"}},
		{"shard 3", 3, []string{"--training.local_batch_size=2"}},
		{"replicate 2, tensor 2", 4, sharedBy(2, "--training.local_batch_size=6", "--parallelism.data_parallel_replicate_degree=2")},
		{"replicate 2, shard 2", 4, append(replicated(2), "--training.local_batch_size=3")},
	}
	for _, from := range layouts {
		for _, to := range layouts {
			if from.name != layouts[0].name && to.name != layouts[0].name {
				continue
			}
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				folder := t.TempDir()
				first := course(t, from.ranks, args(folder, 3, from.args...))
				alike(t, append(first, course(t, to.ranks, args(folder, 9, to.args...))...), want)
			})
		}
	}
}

// TestWhatFourRanksSavedIsWhatAnyLayoutHas: in two pairs, of shards of parts or of replicas, each rank's part of weights and moments has the
// saved bits, and the data go on where they were.
func TestWhatFourRanksSavedIsWhatAnyLayoutHas(t *testing.T) {
	for name, pairs := range map[string][]string{"shard 2, tensor 2": sharedBy(2), "replicate 2, shard 2": replicated(2)} {
		folder := t.TempDir()
		args := small(join(tokens, f32Args, saving(folder, 3), oddSizes[:2], []string{"--model.args.n_kv_heads=2", "--training.global_batch_size=24", "--lr_scheduler.total_steps=9"})...)
		course(t, 4, join(args, pairs, []string{"--training.local_batch_size=3", "--training.steps=3"}))
		for _, l := range []sharing{
			{"one rank", 1, []string{"--training.local_batch_size=24"}},
			{"shard 2", 2, []string{"--training.local_batch_size=12"}},
			{"tensor 2", 2, sharedBy(2, "--training.local_batch_size=12")},
			{"shard 3", 3, []string{"--training.local_batch_size=8"}},
			{"shard 2, tensor 2", 4, sharedBy(2, "--training.local_batch_size=6")},
			{"replicate 2, shard 2", 4, append(replicated(2), "--training.local_batch_size=6")},
			{"replicate 2, shard 2, tensor 2", 8, sharedBy(2, join(replicated(2), []string{"--training.local_batch_size=6"})...)},
			{"shard 8", 8, []string{"--training.local_batch_size=3"}},
		} {
			t.Run(name+" to "+l.name, func(t *testing.T) {
				for rank, err := range onRanks(t, l.ranks, join(args, l.args, []string{"--training.steps=4", "--checkpoint.load_only"}), func(rank int, tr *Trainer) error {
					isSaved(t, tr, folder, 3)
					if at, want := tr.next.position(), uint64(3*24); at != want {
						t.Errorf("rank %d goes on with sequence %d, want %d", rank, at, want)
					}
					return nil
				}) {
					if err != nil {
						t.Errorf("rank %d: %v", rank, err)
					}
				}
			})
		}
	}
}
