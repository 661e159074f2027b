// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"octet/comm"
	"octet/comm/host"
	"octet/comm/store"
	"octet/internal/auth"
	"octet/metrics"
	"octet/test/ranks"
)

// small are the flags of a model that trains in a moment, whose sizes 3 does
// not divide, on a dataset that must follow.
func small(more ...string) []string {
	return append(strings.Fields(`--model.flavor=debugmodel --model.args.dim=16 --model.args.n_layers=2 --model.args.n_heads=4
		--model.args.n_kv_heads=4 --model.args.ffn_hidden_dim=32 --model.args.vocab_size=256 --training.seq_len=16
		--optimizer.lr=1e-2 --lr_scheduler.warmup_steps=2`), more...)
}

var tokens = []string{"--training.dataset=tokens", "--training.dataset_path=" + golden + "llama_tokens.u16"}

// within compares losses step by step, relative.
func within(t *testing.T, got []metrics.Record, want []float64, bound float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i, r := range got {
		if d := relative(r.Loss, want[i]); !(d <= bound) {
			t.Errorf("step %d: loss %.7f, want %.7f: off by %.2g, more than %.2g", i+1, r.Loss, want[i], d, bound)
		}
	}
}

// TestTheSeedDecidesTheWeights, not the number of ranks.
func TestTheSeedDecidesTheWeights(t *testing.T) {
	weights := func(ranks int, seed string) map[string][]float32 {
		var mu sync.Mutex
		parts := map[string][][]float32{}
		args := small(join(tokens, []string{"--training.local_batch_size=1", "--training.steps=1", "--debug.seed=" + seed})...)
		for _, err := range onRanks(t, ranks, args, func(rank int, tr *Trainer) error {
			for _, p := range tr.model.Params() {
				x, err := read(tr, p.Local())
				if err != nil {
					return err
				}
				mu.Lock()
				if parts[p.Name] == nil {
					parts[p.Name] = make([][]float32, ranks)
				}
				parts[p.Name][rank] = x
				mu.Unlock()
			}
			return nil
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		whole := map[string][]float32{}
		for name, p := range parts {
			whole[name] = slices.Concat(p...)
		}
		return whole
	}
	one := weights(1, "3")
	if len(one) != 21 {
		t.Fatalf("%d parameters, want 21", len(one))
	}
	for _, ranks := range []int{2, 3, 4} {
		for name, got := range weights(ranks, "3") {
			if !slices.Equal(got, one[name]) {
				t.Errorf("%s starts otherwise on %d ranks than on one", name, ranks)
			}
		}
	}
	if other := weights(1, "4"); slices.Equal(other["output.weight"], one["output.weight"]) {
		t.Error("another seed gives the same weights")
	}
}

// losses of records, for messages.
func losses(records []metrics.Record) (l []float64) {
	for _, r := range records {
		l = append(l, r.Loss)
	}
	return l
}

// TestTheGlobalBatchDecidesTheLosses, not how ranks and microbatches share it.
func TestTheGlobalBatchDecidesTheLosses(t *testing.T) {
	steps := join(f32Args, tokens, []string{"--training.steps=20", "--training.global_batch_size=12"})
	want := losses(runRanks(t, 1, small(append(steps, "--training.local_batch_size=12")...)))
	if !(want[19] < 0.9*want[0]) {
		t.Errorf("losses %v: nothing was learned", want)
	}
	for _, tt := range []struct{ ranks, local int }{{1, 3}, {2, 6}, {2, 1}, {3, 4}, {4, 3}} {
		t.Run(fmt.Sprintf("%d ranks, batches of %d", tt.ranks, tt.local), func(t *testing.T) {
			records := runRanks(t, tt.ranks, small(append(steps, fmt.Sprint("--training.local_batch_size=", tt.local))...))
			within(t, records, want, 1e-5)
			for _, r := range records {
				if r.Tokens != 12*16 || r.TokensSeen != int64(r.Step)*r.Tokens {
					t.Errorf("step %d: %d tokens, want %d; %d seen so far", r.Step, r.Tokens, 12*16, r.TokensSeen)
				}
			}
		})
	}
}

// TestTheLossIsTheMeanOverAllTokens, where ranks have unequal numbers of them: a
// text whose last window is short has places without a target.
func TestTheLossIsTheMeanOverAllTokens(t *testing.T) {
	text := filepath.Join(t.TempDir(), "short.txt")
	if err := os.WriteFile(text, []byte("the quick brown fox jumps")[:16+5+1], 0o666); err != nil {
		t.Fatal(err)
	}
	args := small(f32Args[0], "--training.dataset=text", "--training.dataset_path="+text, "--training.steps=10", "--training.global_batch_size=6")
	want := losses(runRanks(t, 1, append(args, "--training.local_batch_size=6")))
	for _, tt := range []struct{ ranks, local int }{{2, 3}, {3, 1}, {6, 1}} {
		within(t, runRanks(t, tt.ranks, append(args, fmt.Sprint("--training.local_batch_size=", tt.local))), want, 1e-5)
	}

	var mu sync.Mutex
	var valid []int
	onRanks(t, 6, append(args, "--training.local_batch_size=1"), func(_ int, tr *Trainer) error {
		pending, err := tr.enqueue(1e-3)
		if err != nil {
			return err
		}
		r, err := pending.Wait()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		tr.loader.Seek(0)
		b := tr.loader.NewBatch()
		err = tr.loader.Next(b)
		valid = append(valid, b.Valid)
		if n := r.Count; n != 3*16+3*5 {
			t.Errorf("%d tokens of all ranks, want %d", n, 3*16+3*5)
		}
		return err
	})
	slices.Sort(valid)
	if want := []int{5, 5, 5, 16, 16, 16}; !slices.Equal(valid, want) {
		t.Errorf("ranks have %v tokens, want %v", valid, want)
	}
}

// TestTwoRunsHaveTheSameBits in the setting where most is asynchronous.
func TestTwoRunsHaveTheSameBits(t *testing.T) {
	args := small(join(tokens, float8, gather, []string{
		"--training.local_batch_size=2", "--training.global_batch_size=12", "--training.steps=10",
	})...)
	first, second := runRanks(t, 3, args), runRanks(t, 3, args)
	for i, r := range first {
		if s := second[i]; r.Loss != s.Loss || r.GradNorm != s.GradNorm || r.CommBytes != s.CommBytes || r.CommBytes == 0 {
			t.Errorf("step %d: loss %v, norm %v, %d bytes; again: %v, %v, %d", i+1, r.Loss, r.GradNorm, r.CommBytes, s.Loss, s.GradNorm, s.CommBytes)
		}
	}
}

// TestTransportsChangeNoBit: ranks that share memory or talk over TCP train as
// goroutines do.
func TestTransportsChangeNoBit(t *testing.T) {
	args := small(join(tokens, float8, gather, []string{"--training.local_batch_size=2", "--training.steps=5"})...)
	want := runRanks(t, 3, args)
	for name, hosts := range map[string][]string{"shared memory": {"a", "a", "a"}, "TCP": {"a", "b", "c"}, "both": {"a", "a", "b"}} {
		t.Run(name, func(t *testing.T) {
			records, errs := tryRanks(t, connect(t, hosts...), args)
			for rank, err := range errs {
				if err != nil {
					t.Fatalf("rank %d: %v", rank, err)
				}
			}
			for i, r := range records {
				if w := want[i]; r.Loss != w.Loss || r.GradNorm != w.GradNorm || r.CommBytes != w.CommBytes {
					t.Errorf("step %d: loss %v, norm %v, %d bytes; goroutines have %v, %v, %d", i+1, r.Loss, r.GradNorm, r.CommBytes, w.Loss, w.GradNorm, w.CommBytes)
				}
			}
		})
	}
}

// connect opens ranks that take one another to be on the given hosts.
func connect(t *testing.T, hosts ...string) []*ranks.Rank {
	t.Helper()
	list := ranks.Open(t, len(hosts), ranks.Options{})
	mem := store.NewMemory()
	for rank, err := range ranks.Each(list, func(r *ranks.Rank) error {
		c, err := host.Connect(context.Background(), host.Config{
			Rank: r.Rank, World: r.World.Size(), Store: mem, HostID: hosts[r.Rank], Address: "127.0.0.1", Secret: auth.Public(),
		})
		if err == nil {
			r.World = c
		}
		return err
	}) {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	t.Cleanup(func() {
		for _, r := range list {
			if err := r.World.(comm.Control).Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return list
}
