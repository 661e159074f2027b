// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"octet/comm"
	"octet/comm/record"
	"octet/optim"
	"octet/parallel"
)

// frozen is what the ranks of a course have at its end.
type frozen struct {
	values map[string][]float32 // whole
	calls  []record.Call        // of the last rank, in the last step
}

// ends trains, and compares on each rank which parameters have gradients and moments, and what was sent for them.
func (k course) ends(t *testing.T) (results []parallel.Result, end frozen) {
	t.Helper()
	var mu sync.Mutex
	k.after = func(rank int, m *parallel.Model, adam *optim.Adam, log *record.Log) error {
		calls, values := log.Take(), map[string][]float32{}
		for _, p := range m.Params() {
			x, err := m.FullTensor(p)
			if err != nil {
				return err
			}
			values[p.Name] = x
			if is := k.freeze != nil && k.freeze(p.Name); p.Frozen() != is || (p.Grad == nil) != is {
				t.Errorf("rank %d: %s: frozen %v, gradient %v", rank, p.Name, p.Frozen(), p.Grad)
			}
		}
		for _, s := range adam.State() {
			if k.freeze != nil && k.freeze(s.Name) {
				t.Errorf("rank %d: the optimizer has %s", rank, s.Name)
			}
		}
		sent, traffic := map[string]int64{}, m.Traffic()
		for _, c := range calls {
			sent[c.Group] += c.Bytes()
		}
		if k.steps > 0 && k.n > 1 && (sent["fsdp.reduce"] != int64(traffic.ReduceScatter) && sent["fsdp.reduce"] > 0 || sent["fsdp.replicas"] != int64(traffic.AllReduce)) {
			t.Errorf("rank %d: %d bytes reduced among shards and %d among replicas, want %d and %d", rank, sent["fsdp.reduce"], sent["fsdp.replicas"], traffic.ReduceScatter, traffic.AllReduce)
		}
		mu.Lock()
		defer mu.Unlock()
		if rank == k.n-1 {
			end = frozen{values, calls}
		}
		return nil
	}
	return k.train(t), end
}

// TestFrozenParametersInEveryLayout: they stay as they are, nothing is reduced for them over shards, replicas or the ranks that share modules, and the others train as
// on one rank.
func TestFrozenParametersInEveryLayout(t *testing.T) {
	args := small(4, 4)
	within := func(parts ...string) func(string) bool {
		return func(name string) bool {
			return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(name, part) })
		}
	}
	for name, freeze := range map[string]func(string) bool{
		"wq": within("attention.wq"), "norms": within("norm"), "embedding": within("tok_embeddings"), "a layer": within("layers.0."),
		"rows and columns": within("w2", "w3", "output"), "all but a norm": within("layers.", "tok_embeddings", "output"),
	} {
		alone := course{args: args, plan: inFloat32(parallel.Degrees{}, TensorOptions{}), n: 1, freeze: freeze}
		_, start := alone.ends(t)
		alone.steps = 10
		want, _ := alone.ends(t)
		for _, l := range []struct {
			degrees parallel.Degrees
			tensor  TensorOptions
			n       int
		}{
			{parallel.Degrees{Replicate: 2}, TensorOptions{}, 4},
			{parallel.Degrees{Replicate: 2, Shard: 1}, TensorOptions{}, 2},
			{parallel.Degrees{Tensor: 2}, TensorOptions{Sequence: true, Loss: true}, 2},
			{parallel.Degrees{Tensor: 2}, TensorOptions{}, 2},
			{parallel.Degrees{Tensor: 2}, TensorOptions{Sequence: true, Loss: true}, 4},
			{parallel.Degrees{Replicate: 2, Tensor: 2}, TensorOptions{Sequence: true, Loss: true}, 8},
		} {
			t.Run(fmt.Sprintf("%s, %d ranks, %v, %+v", name, l.n, l.degrees, l.tensor), func(t *testing.T) {
				k := course{args: args, plan: inFloat32(l.degrees, l.tensor), n: l.n, steps: 10, freeze: freeze}
				results, end := k.ends(t)
				alike(t, results, want)
				for name, x := range end.values {
					if moved := !slices.Equal(x, start.values[name]); moved == freeze(name) {
						t.Errorf("%s: moved is %v", name, moved)
					}
				}
				if !l.tensor.Sequence || l.n == l.degrees.Tensor { // where the group of the axis is that of all ranks
					return
				}
				norms := 0
				for name := range end.values {
					if strings.Contains(name, "norm") && !freeze(name) {
						norms++
					}
				}
				terms := 0 // of the axis's last call
				for _, c := range end.calls {
					if c.Group != "tp" {
						continue
					}
					if terms = 0; c.Kind == comm.AllReduce {
						terms = len(c.Parts)
					}
				}
				if terms != norms {
					t.Errorf("%d gradients are added up over the ranks that share modules, want those of %d norms", terms, norms)
				}
			})
		}
	}
}
