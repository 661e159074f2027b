// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/comm"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/parallel"
)

// firstGradients are the gradients of the last step by name, the rows of all shards together.
func firstGradients(t *testing.T, workers []*worker) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for _, w := range shards(workers) {
		for _, p := range w.m.Params() {
			if !p.Frozen() {
				all[p.Name] = append(all[p.Name], w.mustGet(t, p.LocalGrad())...)
			}
		}
	}
	return all
}

// sentIn are the calls of a kind in the last step, and their bytes.
func sentIn(w *worker, kind comm.Kind) (calls int, bytes int64) {
	for _, call := range w.calls[len(w.calls)-1] {
		if call.Kind == kind {
			calls++
			bytes += call.Bytes()
		}
	}
	return calls, bytes
}

// sentBy are the calls of a group in the last step, and their bytes.
func sentBy(w *worker, group string) (calls int, bytes int64) {
	for _, call := range w.calls[len(w.calls)-1] {
		if call.Group == group {
			calls++
			bytes += call.Bytes()
		}
	}
	return calls, bytes
}

// TestFrozenParameters stay as they are, whatever the recipe, and everything else as if
// they were not: in the first step the others' gradients have the bits that they have in a
// model where all move, and the norm is theirs alone. They are gathered as ever, but nothing is
// reduced for them, and no memory taken for gradients and moments.
func TestFrozenParameters(t *testing.T) {
	gathered := fp8.DefaultConfig()
	gathered.EnableFsdpFloat8AllGather = true
	plain, inFloat8 := fp8.DefaultConfig(), fsdp.Options{Param: dtype.BFloat16}
	again := &parallel.Recompute{Modules: []string{"layers.*"}, Keep: nn.KeepCostly}
	for name, j := range map[string]job{
		"f32 on 3":            {ranks: 3, args: uneven, options: fsdp.Options{Param: dtype.Float32}, batch: 6},
		"float8 on 1":         {ranks: 1, args: sixteens, options: inFloat8, float8: &plain, batch: 4, micro: 2},
		"float8 gather on 2":  {ranks: 2, args: sixteens, options: inFloat8, float8: &gathered, scales: true, batch: 8, micro: 2},
		"recomputed on 2":     {ranks: 2, args: sixteens, options: inFloat8, float8: &gathered, batch: 4, again: again},
		"delayed gather on 2": {ranks: 2, args: sixteens, options: inFloat8, float8: recipe(t, fp8.RecipeDelayed, true), batch: 8, micro: 2},
		"rowwise gather on 2": {ranks: 2, args: sixteens, options: inFloat8, float8: recipe(t, fp8.RecipeRowwise, true), batch: 8, micro: 2},
		"tied on 2":           {ranks: 2, args: tied, options: fsdp.Options{Param: dtype.Float32}, batch: 4},
		"two replicas of 2":   {ranks: 4, replicas: 2, args: uneven, options: fsdp.Options{Param: dtype.Float32}, batch: 8, micro: 2},
		"float8, 2 replicas":  {ranks: 2, replicas: 2, args: sixteens, options: inFloat8, float8: &gathered, batch: 4},
	} {
		j.steps = 1
		all := run(t, j)
		gradients := firstGradients(t, all)
		before := func(parts ...string) map[string][]float32 { // values before the first step
			j := j
			j.steps, j.freeze = 0, parts
			return whole(t, run(t, j))
		}
		for _, freeze := range [][]string{
			{"attention.wq"}, {"norm"}, {"tok_embeddings"}, {"layers.0."}, {"output", "w2"},
			{"layers.", "tok_embeddings", "output"}, // all but the last norm
		} {
			t.Run(fmt.Sprintf("%s/%q", name, freeze), func(t *testing.T) {
				frozen := j
				frozen.freeze = freeze
				first := run(t, frozen)
				if first[0].losses[0] != all[0].losses[0] {
					t.Errorf("first loss %v, want %v", first[0].losses[0], all[0].losses[0])
				}
				sum := 0.0
				got := firstGradients(t, first)
				for name, g := range gradients {
					if frozen.freezes(name) {
						continue
					}
					if !slices.Equal(got[name], g) {
						t.Errorf("the first gradient of %s has other bits than in a model where all move", name)
					}
					for _, x := range g {
						sum += float64(x) * float64(x)
					}
				}
				if norm := first[0].norms[0]; math.Abs(norm-math.Sqrt(sum)) > 1e-6*norm {
					t.Errorf("norm %v, want that of the others, %v", norm, math.Sqrt(sum))
				}
				frozen.steps = 4
				later := run(t, frozen)
				values, start := whole(t, later), before(freeze...)
				for name, x := range values {
					if moved := !slices.Equal(x, start[name]); moved == frozen.freezes(name) {
						t.Errorf("%s: moved is %v", name, moved)
					}
				}
				w, was := later[0], all[0]
				traffic, micro := w.m.Traffic(), max(1, j.micro)
				if calls, bytes := sentIn(w, comm.ReduceScatter); calls != micro*traffic.Reductions || bytes != int64(micro*traffic.ReduceScatter) {
					t.Errorf("%d reductions of %d bytes, want in each of %d microbatches %d of %d", calls, bytes, micro, traffic.Reductions, traffic.ReduceScatter)
				}
				if calls, bytes := sentBy(w, "fsdp.replicas"); j.replicas > 0 && (calls != traffic.Reductions || bytes != int64(traffic.AllReduce)) {
					t.Errorf("%d all-reduces of %d bytes between replicas, want %d of %d", calls, bytes, traffic.Reductions, traffic.AllReduce)
				}
				calls, bytes := sentIn(w, comm.AllGather)
				if wantCalls, want := sentIn(was, comm.AllGather); calls != wantCalls || bytes != want {
					t.Errorf("%d gathers of %d bytes, want %d of %d as in a model where all move", calls, bytes, wantCalls, want)
				}
				for _, p := range w.m.Params() {
					if (p.Grad == nil) != p.Frozen() {
						t.Errorf("%s: frozen %v, gradient %v", p.Name, p.Frozen(), p.Grad)
					}
					if p.Frozen() != planSaysFrozen(w.m.Plan(), p.Name) {
						t.Errorf("%s is frozen: %v, the plan says otherwise:\n%s", p.Name, p.Frozen(), w.m.Plan())
					}
				}
				for _, s := range w.adam.State() {
					if frozen.freezes(s.Name) {
						t.Errorf("the optimizer has %s", s.Name)
					}
				}
			})
		}
	}
}

// planSaysFrozen reads the line of a parameter.
func planSaysFrozen(plan, name string) bool {
	for line := range strings.Lines(plan) {
		if strings.HasPrefix(line, "  "+name+" ") {
			return strings.HasSuffix(line, ", frozen\n")
		}
	}
	return false
}

// TestAFrozenParameterOfAUnitThatDoesNotRun has no gradient that could be cleared.
func TestAFrozenParameterOfAUnitThatDoesNotRun(t *testing.T) {
	j := job{ranks: 2, args: uneven, options: f32, batch: 4, steps: 2, freeze: []string{"layers.0.attention"}}
	j.before = func(w *worker, step int) {
		if step > 0 {
			return
		}
		root := w.m.Root()
		_ = nn.Walk(&root, func(path string, m nn.Module) (nn.Module, error) {
			if path == "layers.0" {
				m = &sometimes{m, false}
			}
			return m, nil
		})
	}
	for _, p := range run(t, j)[0].m.Params() {
		if strings.HasPrefix(p.Name, "layers.0") && (p.Grad == nil) != p.Frozen() {
			t.Errorf("%s: frozen %v, gradient %v", p.Name, p.Frozen(), p.Grad)
		}
	}
}
