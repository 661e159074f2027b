// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"octet/comm"
	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/nn/nntest"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/test/ranks"
)

// job is a run of goroutine ranks that train a Llama on random tokens.
type job struct {
	ranks   int
	args    llama.Args
	options fsdp.Options
	float8  *fp8.Float8LinearConfig // nil: none
	skip    []string                // of the float8 filter
	scales  bool                    // precompute them after each update
	again   *parallel.Recompute     // nil: none
	units   []string                // nil: a Llama's
	freeze  []string                // parameters whose names contain one of these
	// replicas is how many the ranks make; 0 is one.
	replicas int
	batch    int // sequences a step, of all ranks and microbatches
	micro    int // microbatches a step; 0 is 1
	steps    int
	// before, if set, runs on each rank before each step.
	before func(w *worker, step int)
	// over, if set, is what the ranks talk through.
	over func(world comm.Comm) comm.Comm
}

const seqLen = 8

// uneven has no size that 2, 3 and 4 all divide, and weights of 2 rows.
var uneven = llama.Args{Dim: 10, Layers: 2, Heads: 5, KVHeads: 1, Vocab: 11, FFNHiddenDim: 7, NormEps: 1e-5, RopeTheta: 100, MaxSeqLen: seqLen}

// tied shares its embedding with its output.
var tied = llama.Args{Dim: 10, Layers: 1, Heads: 5, KVHeads: 5, Vocab: 7, FFNHiddenDim: 5, NormEps: 1e-5, RopeTheta: 100, MaxSeqLen: seqLen, Tied: true}

// sixteens are sizes that float8 takes.
var sixteens = llama.Args{Dim: 16, Layers: 2, Heads: 2, KVHeads: 2, Vocab: 32, FFNHiddenDim: 48, NormEps: 1e-5, RopeTheta: 100, MaxSeqLen: seqLen}

// units are those of a Llama.
var units = []string{"tok_embeddings", "layers.*", "norm+output"}

// worker is one rank.
type worker struct {
	job
	rank  int
	dev   *nntest.Counting
	world comm.Comm
	log   *record.Log // of the world and all groups
	m     *parallel.Model
	c     *nn.Ctx
	adam  *optim.Adam

	losses, norms []float64
	calls         [][]record.Call // of each step
	allocs, live  []int           // after each step
}

// run trains and returns the workers, which live as long as the test.
func run(t *testing.T, j job) []*worker {
	t.Helper()
	workers := make([]*worker, j.ranks)
	for rank, err := range ranks.Each(ranks.Open(t, j.ranks, ranks.Options{}), func(r *ranks.Rank) error {
		w := &worker{job: j, rank: r.Rank, dev: &nntest.Counting{Device: r.Device}, log: &record.Log{Keep: true}}
		world := r.World
		if j.over != nil {
			world = j.over(world)
		}
		w.world = record.New(world, w.log)
		workers[r.Rank] = w
		return w.train()
	}) {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	return workers
}

func (w *worker) train() error {
	if err := w.build(); err != nil {
		return err
	}
	for step := range w.steps {
		if w.before != nil {
			w.before(w, step)
		}
		w.log.Take()
		if err := w.step(step); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		w.calls = append(w.calls, w.log.Take())
		w.allocs, w.live = append(w.allocs, w.dev.Allocs), append(w.live, w.c.Pool.Live())
	}
	return nil
}

func (w *worker) build() (err error) {
	var model nn.Module = llama.New(w.args, seqLen)
	plan := parallel.Plan{Degrees: parallel.Degrees{Replicate: w.replicas}, Recompute: w.again, Units: units, FSDP: w.options}
	if w.units != nil {
		plan.Units = w.units
	}
	if w.float8 != nil {
		plan.Float8 = &parallel.Float8{Config: *w.float8, Skip: append([]string{"output"}, w.skip...), Precompute: w.scales}
	}
	for name, p := range nn.Parameters(model) {
		if w.freezes(name) {
			p.Freeze()
		}
	}
	if err := plan.Convert(&model); err != nil {
		return err
	}
	if w.m, err = plan.Shard(model, w.world, w.dev); err != nil {
		return err
	}
	if err := w.m.Init(1); err != nil {
		return err
	}
	w.c = w.m.Ctx()
	w.adam, err = optim.NewAdam(w.dev, w.c.Stream, w.m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1})
	return err
}

func (j job) freezes(name string) bool {
	return slices.ContainsFunc(j.freeze, func(part string) bool { return strings.Contains(name, part) })
}

func (w *worker) step(step int) error {
	micro := max(1, w.micro)
	size := w.batch / (w.ranks * micro)
	ids, targets := w.c.Pool.New(dtype.Int32, size, seqLen), w.c.Pool.New(dtype.Int32, size, seqLen)
	pending := w.m.Step(parallel.StepOptions{Optimizer: w.adam, LR: 1e-2, MaxNorm: 1, Count: size * seqLen * micro, Microbatches: micro}, func(c *nn.Ctx, i int) {
		in, out := w.tokens(step, (i*w.ranks+w.rank)*size, size)
		c.Stream.Upload(ids, device.Int32Bytes(in))
		c.Stream.Upload(targets, device.Int32Bytes(out))
		nn.CrossEntropy(c, w.m.Forward(c, nn.Input(ids)), targets)
	})
	w.c.Pool.Free(ids)
	w.c.Pool.Free(targets)
	r, err := pending.Wait()
	if err != nil {
		return err
	}
	w.losses, w.norms = append(w.losses, r.Loss), append(w.norms, r.GradNorm)
	return w.m.Sync()
}

// tokens are n sequences of the step's global batch from the given one on, and
// their targets; the data does not depend on who reads it.
func (w *worker) tokens(step, first, n int) (in, out []int32) {
	for i := range n {
		draw := rand.New(rand.NewPCG(uint64(step), uint64(first+i)))
		id := draw.IntN(w.args.Vocab)
		for range seqLen {
			in = append(in, int32(id))
			id = (3*id + draw.IntN(2)) % w.args.Vocab // something to learn
			out = append(out, int32(id))
		}
	}
	return in, out
}

// get waits for all streams and reads a float32 tensor.
func (w *worker) get(x *tensor.Tensor) ([]float32, error) {
	out := make([]float32, x.Numel())
	w.c.Stream.Download(device.Float32Bytes(out), x)
	if err := w.c.Stream.Sync(); err != nil {
		return nil, err
	}
	return out, w.m.Sync()
}

// mustGet is get for a test's own goroutine.
func (w *worker) mustGet(t *testing.T, x *tensor.Tensor) []float32 {
	t.Helper()
	out, err := w.get(x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// whole puts the real rows of the shards of the first replica together, by name.
func whole(t *testing.T, workers []*worker) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for _, w := range shards(workers) {
		for _, p := range w.m.Params() {
			all[p.Name] = append(all[p.Name], w.mustGet(t, p.Local())...)
		}
	}
	for _, p := range workers[0].m.Params() {
		if len(all[p.Name]) != p.Numel() {
			t.Fatalf("%s: the ranks hold %d of %d elements", p.Name, len(all[p.Name]), p.Numel())
		}
	}
	return all
}

// shards are the ranks of the first replica.
func shards(workers []*worker) []*worker {
	return workers[:len(workers)/max(1, workers[0].replicas)]
}

// sameBits fails unless two runs have the same losses, norms and weights.
func sameBits(t *testing.T, what string, a, b []*worker) {
	t.Helper()
	if !slices.Equal(a[0].losses, b[0].losses) || !slices.Equal(a[0].norms, b[0].norms) {
		t.Errorf("%s: losses %v and norms %v, want the same bits as %v and %v", what, b[0].losses, b[0].norms, a[0].losses, a[0].norms)
	}
	other := whole(t, b)
	for name, x := range whole(t, a) {
		if !slices.Equal(x, other[name]) {
			t.Errorf("%s: %s has other bits", what, name)
		}
	}
}

// near fails unless all losses of b are those of a within a relative bound.
func near(t *testing.T, what string, a, b []*worker, bound float64) {
	t.Helper()
	worst := 0.0
	for i, want := range a[0].losses {
		worst = max(worst, math.Abs(b[0].losses[i]-want)/want)
	}
	t.Logf("%s: losses within %.2g", what, worst)
	if !(worst <= bound) {
		t.Errorf("%s: losses %v, want %v: off by %.2g, more than %.2g", what, b[0].losses, a[0].losses, worst, bound)
	}
}
