// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"octet/comm"
	"octet/config"
	"octet/device"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/nn"
	"octet/tensor"
	"octet/test/ranks"
)

// faulty is a device whose compute stream does something else in place of one
// kernel.
type faulty struct {
	device.Device
	swiglu       func(device.HostStream) // before SwiGLU
	crossEntropy func(s device.Stream, logits *tensor.Tensor)
}

func (d *faulty) NewStream(name string) device.Stream {
	s := d.Device.NewStream(name)
	if name != "compute" {
		return s
	}
	return &faultyStream{s.(device.HostStream), d}
}

type faultyStream struct {
	device.HostStream
	dev *faulty
}

func (s *faultyStream) SwiGLU(h, gate, up, amax *tensor.Tensor) {
	if s.dev.swiglu != nil {
		s.dev.swiglu(s.HostStream)
	}
	s.HostStream.SwiGLU(h, gate, up, amax)
}

func (s *faultyStream) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) {
	s.HostStream.CrossEntropy(loss, logits, targets, scale)
	if s.dev.crossEntropy != nil {
		s.dev.crossEntropy(s.HostStream, logits)
	}
}

// groupings are ways to share a model in which one rank does not do its part: the last of a group, or in the middle of the job.
var groupings = []struct {
	name   string
	n, bad int
	args   []string
}{
	{"shards", 3, 1, nil},
	{"two replicas of two shards", 4, 2, replicated(2)},
	{"four replicas", 4, 3, replicated(4)},
	{"shards of modules that two share", 4, 1, sharedBy(2)},
	{"replicas of modules that two share", 4, 3, sharedBy(2, replicated(2)...)},
}

// TestAPanicInForwardStopsAllRanks with that cause, not with a deadline, in whatever group they are.
func TestAPanicInForwardStopsAllRanks(t *testing.T) {
	const step = 3
	for _, g := range groupings {
		t.Run(g.name, func(t *testing.T) {
			run := resolved(t, g.n, small(join(tokens, float8, gather, g.args, []string{"--model.args.dim=64", "--training.local_batch_size=2", "--training.steps=10"})...))
			sinks := make([]memory, g.n)
			errs := ranks.Each(ranks.Open(t, g.n, ranks.Options{}), func(r *ranks.Rank) error {
				f := &faulty{Device: r.Device}
				if r.Rank == g.bad {
					calls := 0
					f.swiglu = func(device.HostStream) {
						if calls++; calls == 2*(step-1)+1 { // two layers a step
							panic("the roof is on fire")
						}
					}
				}
				return Run(context.Background(), Job{Run: run, Device: f, World: r.World, Log: zap.NewNop()}, &sinks[r.Rank])
			})
			for rank, err := range errs {
				if err == nil || !strings.Contains(err.Error(), "panic: the roof is on fire") {
					t.Errorf("rank %d ended with %v, want the panic", rank, err)
					continue
				}
				// Of the ranks of another group the last collective of the step before may be under way.
				if n := len(sinks[rank].records); n > step-1 || n < step-2 {
					t.Errorf("rank %d finished %d steps, want %d", rank, n, step-1)
				}
				var abort *comm.AbortError
				if told := errors.As(err, &abort); told != (rank != g.bad) || told && abort.Rank != g.bad {
					t.Errorf("rank %d ended with %v: rank %d is to blame", rank, err, g.bad)
				}
			}
			if err := errs[g.bad]; err != nil && !strings.Contains(err.Error(), "faultyStream).SwiGLU") {
				t.Errorf("rank %d ended with %v, want the stack too", g.bad, err)
			}
		})
	}
}

// TestARankThatStandsStillIsNamed by the others once their deadline is over, whichever group waits for it.
func TestARankThatStandsStillIsNamed(t *testing.T) {
	const step = 2
	for _, g := range groupings {
		t.Run(g.name, func(t *testing.T) {
			run := resolved(t, g.n, small(join(tokens, f32Args, g.args, []string{"--training.local_batch_size=2", "--training.steps=10", "--comm.train_timeout_seconds=1"})...))
			over := make(chan struct{}) // one of the others has ended
			var once sync.Once
			errs := ranks.Each(ranks.Open(t, g.n, ranks.Options{}), func(r *ranks.Rank) error {
				f := &faulty{Device: r.Device}
				if r.Rank == g.bad {
					calls := 0
					f.swiglu = func(s device.HostStream) {
						if calls++; calls == 2*(step-1)+1 {
							s.Call("stall", func() error { <-over; return nil })
						}
					}
				}
				err := Run(context.Background(), Job{Run: run, Device: f, World: r.World, Log: zap.NewNop()}, &memory{})
				if r.Rank != g.bad {
					once.Do(func() { close(over) })
				}
				return err
			})
			for rank, err := range errs {
				if want := fmt.Sprintf("rank %d has not arrived after 1s", g.bad); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("rank %d ended with %v, want %q in it", rank, err, want)
				}
			}
		})
	}
}

// TestWhatIsNotFiniteStopsAllRanksAtOnce, before the update, wherever it comes
// from.
func TestWhatIsNotFiniteStopsAllRanksAtOnce(t *testing.T) {
	const ranks, bad, last = 2, 1, 2 // last good step
	detect, recomputed := []string{"--debug.detect_anomaly"}, []string{"--activation_checkpoint.mode=full"}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	// poison writes a value into the second weight of a layer on one rank, as a
	// write that all ranks know of.
	poison := func(name string, x float32) func(int, *Trainer) {
		return func(rank int, tr *Trainer) {
			if err := tr.model.Load(func(s device.Stream, params []*nn.Param) error {
				for _, p := range params {
					if p.Name != name {
						continue
					}
					if rank == bad {
						s.Upload(tensor.At(p.Shard.Buf, p.Shard.Off+4, p.Shard.Type, 1), device.Float32Bytes([]float32{x}))
					}
					p.Written()
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
	}
	gradient := func(x float32) func(s device.Stream, logits *tensor.Tensor) {
		return func(s device.Stream, logits *tensor.Tensor) {
			s.Upload(tensor.At(logits.Buf, logits.Off, logits.Type, 1), device.Float32Bytes([]float32{x}))
		}
	}
	for _, tt := range []struct {
		name   string
		args   []string
		before func(rank int, tr *Trainer)
		kernel func(s device.Stream, logits *tensor.Tensor)
		want   string
	}{
		{"NaN in a gradient", f32Args, nil, gradient(nan), "the gradient norm is NaN"},
		{"Inf in a gradient", f32Args, nil, gradient(inf), "the gradient norm is "},
		{"NaN in a weight", f32Args, poison("layers.0.attention.wq.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a float8 weight", join(f32Args, float8, gather), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a float8 weight, inline scales", join(f32Args, float8, gather[:1]), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a gradient, named", join(f32Args, detect), nil, gradient(nan), "the gradient of the input of output has a NaN on rank 1"},
		{"NaN in a float8 weight, named", join(f32Args, float8, gather, detect, recomputed), poison("layers.1.feed_forward.w2.weight", nan), nil,
			"the weight layers.1.feed_forward.w2.weight has a NaN on rank 1"},
		{"NaN in a weight cast by rows", join(f32Args, float8, named("rowwise")), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"Inf in a weight gathered by rows", join(f32Args, float8, named("rowwise"), gather[:1]), poison("layers.1.feed_forward.w2.weight", inf), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a weight cast by rows, dW in high precision", join(f32Args, float8, named("rowwise_with_gw_hp")), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a weight of delayed scale", join(f32Args, float8, named("delayed")), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a float8 weight of delayed scale", join(f32Args, float8, named("delayed"), gather[:1]), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a gradient, delayed", join(f32Args, float8, named("delayed")), nil, gradient(nan), "the gradient norm is NaN"},
		{"NaN in a weight of a replica", join(f32Args, replicated(2)), poison("layers.0.attention.wq.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a part of a weight", join(f32Args, sharedBy(2)), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a weight of all", join(f32Args, sharedBy(2)), poison("layers.0.attention_norm.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a part of a float8 weight", join(f32Args, float8, gather, sharedBy(2, "--model.args.dim=64")), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"NaN in a part of a weight cast by rows", join(f32Args, float8, named("rowwise"), sharedBy(2, "--model.args.dim=64")), poison("layers.1.feed_forward.w2.weight", nan), nil, "the gradient norm is NaN (loss NaN)"},
		{"Inf in a float8 weight", join(f32Args, float8, gather), poison("layers.1.feed_forward.w2.weight", inf), nil, "the gradient norm is NaN (loss NaN)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := small(join(tokens, tt.args, []string{"--training.local_batch_size=2", "--training.steps=10"})...)
			weights := func(tr *Trainer) (all []uint32, err error) {
				for _, p := range tr.model.Params() {
					x, e := read(tr, p.Shard)
					err = errors.Join(err, e)
					for _, v := range x {
						all = append(all, math.Float32bits(v))
					}
				}
				return all, err
			}
			errs := onRanks(t, ranks, args, func(rank int, tr *Trainer) error {
				for range last {
					if _, err := tr.Step(); err != nil {
						return err
					}
				}
				if tt.before != nil {
					tt.before(rank, tr)
				}
				if tt.kernel != nil && rank == bad {
					c := tr.model.Ctx()
					hs := c.Stream.(device.HostStream)
					c.Stream = &faultyStream{hs, &faulty{crossEntropy: tt.kernel}}
				}
				before, err := weights(tr)
				if err != nil {
					return err
				}
				_, stopped := tr.Step()
				after, err := weights(tr)
				if err != nil {
					return err
				}
				if !slices.Equal(before, after) {
					t.Errorf("rank %d: the weights have moved", rank)
				}
				return stopped
			})
			for rank, err := range errs {
				want := fmt.Sprintf("train: step %d: %s", last+1, tt.want)
				var abort *comm.AbortError // of ranks that share a module each knows its own losses, and one may tell the other
				if told := slices.Contains(tt.args, sharedBy(2)[0]) && errors.As(err, &abort); err == nil || !strings.HasPrefix(err.Error(), want) && !(told && strings.Contains(err.Error(), want)) {
					t.Errorf("rank %d: error %v, want %q", rank, err, want)
				}
			}
		})
	}
}

// TestInfinityUnderDelayedScalingIsTold: the scale is given, so that it is cast to the
// largest there is and the loss stays a number; every rank warns of the cast, in the same
// step and once.
func TestInfinityUnderDelayedScalingIsTold(t *testing.T) {
	for _, more := range [][]string{nil, gather[:1]} {
		logs := make([]*observer.ObservedLogs, 2)
		args := small(join(tokens, f32Args, float8, named("delayed"), more, []string{"--training.local_batch_size=2", "--training.steps=3"})...)
		for rank, err := range onRanksOf(t, 2, args, func(rank int, j *Job) {
			var core zapcore.Core
			core, logs[rank] = observer.New(zap.WarnLevel)
			j.Log = zap.New(core)
		}, func(rank int, tr *Trainer) error {
			for step := range 3 {
				for _, p := range tr.model.Params() {
					if p.Name == "layers.1.feed_forward.w2.weight" && step == 2 && rank == 1 {
						tr.model.Ctx().Stream.Upload(tensor.At(p.Shard.Buf, p.Shard.Off+4, p.Shard.Type, 1), device.Float32Bytes([]float32{float32(math.Inf(1))}))
					}
				}
				if _, err := tr.Step(); err != nil {
					return err
				}
				want := step / 2
				if got := logs[rank].FilterMessageSnippet("float8/nonfinite_amax: layers.1.feed_forward.w2 (weight) met").Len(); got != want || logs[rank].Len() != want {
					t.Errorf("rank %d, step %d: %d warnings of the weight, of %v; want %d", rank, step+1, got, logs[rank].All(), want)
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

// TestAStaleScaleIsTold once, with the weight that was written to behind the trainer's back.
func TestAStaleScaleIsTold(t *testing.T) {
	logs := make([]*observer.ObservedLogs, 2)
	args := small(join(tokens, f32Args, float8, gather, []string{"--training.local_batch_size=2", "--training.steps=4"})...)
	for rank, err := range onRanksOf(t, 2, args, func(rank int, j *Job) {
		var core zapcore.Core
		core, logs[rank] = observer.New(zap.WarnLevel)
		j.Log = zap.New(core)
	}, func(rank int, tr *Trainer) error {
		var want string
		for step := range 4 {
			for _, p := range tr.model.Params() {
				if p.Name == "layers.1.feed_forward.w2.weight" && step > 0 {
					p.Written()
					if step == 1 {
						want = fmt.Sprintf("step 2: float8: layers.1.feed_forward.w2: its scale is of write %d to the weight, which has had %d: it was", p.Version()-1, p.Version())
					}
				}
			}
			if _, err := tr.Step(); err != nil {
				return err
			}
			if told := min(step, 1); logs[rank].FilterMessageSnippet(want).Len() != told || logs[rank].Len() != told {
				t.Errorf("rank %d, step %d: warnings %v, want %q once, from step 2 on", rank, step+1, logs[rank].All(), want)
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// TestRanksOfOtherModelsAreFound: a rank that was given another size is named
// with both, not waited for.
func TestRanksOfOtherModelsAreFound(t *testing.T) {
	for rank, err := range ranks.Each(ranks.Open(t, 2, ranks.Options{}), func(r *ranks.Rank) error {
		cfg, err := config.Load(append(goldenArgs("4"), fmt.Sprintf("--debug.seed=%d", r.Rank)))
		if err != nil {
			return err
		}
		cfg.Checkpoint.InitialLoadPath = ""
		hidden := 192 + 64*r.Rank
		cfg.Model.Args.FFNHiddenDim = &hidden
		run, err := plan.Resolve(cfg, 2)
		if err != nil {
			return err
		}
		return Run(context.Background(), Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}, &memory{})
	}) {
		for _, want := range []string{`group "fsdp"`, "rank 0 calls all-gather of 9 tensors", "(49280 bytes)", "rank 1 calls all-gather of 9 tensors", "(61568 bytes)"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("rank %d: error %v\nwithout %q", rank, err, want)
			}
		}
	}
}

// TestCancelStopsAllRanks: the context of any rank ends the job with its cause.
func TestCancelStopsAllRanks(t *testing.T) {
	run := resolved(t, 2, small(join(tokens, []string{"--training.local_batch_size=1", "--training.steps=10"})...))
	cause := errors.New("interrupted by the user")
	for rank, err := range ranks.Each(ranks.Open(t, 2, ranks.Options{}), func(r *ranks.Rank) error {
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		w := &announced{Comm: r.World, aborted: make(chan struct{})}
		var sink metrics.Sink = &memory{}
		if r.Rank == 0 {
			sink = &canceler{at: 2, cancel: func() { cancel(cause); <-w.aborted }}
		}
		return Run(ctx, Job{Run: run, Device: r.Device, World: w, Log: zap.NewNop()}, sink)
	}) {
		if !errors.Is(err, cause) {
			t.Errorf("rank %d ended with %v, want %v", rank, err, cause)
		}
	}
}

// announced tells when its rank aborts.
type announced struct {
	comm.Comm
	aborted chan struct{}
	once    sync.Once
}

func (a *announced) Abort(cause error) {
	a.Comm.Abort(cause)
	a.once.Do(func() { close(a.aborted) })
}

// canceler is a Sink that ends the run after a step.
type canceler struct {
	memory
	at     int
	cancel func()
}

func (c *canceler) Step(r metrics.Record) {
	if r.Step == c.at {
		c.cancel()
	}
}

// TestDeadlinesAreThoseAskedFor: one until the first step is done, the other from then on.
func TestDeadlinesAreThoseAskedFor(t *testing.T) {
	r := ranks.Open(t, 1, ranks.Options{})[0]
	var happened noted
	args := small(join(tokens, []string{"--training.local_batch_size=1", "--training.steps=2", "--comm.init_timeout_seconds=7", "--comm.train_timeout_seconds=3"})...)
	w := &timed{r.World, r.World.(comm.Control), &happened}
	if err := Run(context.Background(), Job{Run: resolved(t, 1, args), Device: r.Device, World: w, Log: zap.NewNop()}, &happened); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(happened), "[7s step 1 3s step 2]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// noted is a Sink that notes the steps among what else happens.
type noted []string

func (n *noted) Step(r metrics.Record) { *n = append(*n, fmt.Sprint("step ", r.Step)) }
func (n *noted) Close() error          { return nil }

// timed notes the deadlines that it is given.
type timed struct {
	comm.Comm
	comm.Control
	happened *noted
}

func (c *timed) SetTimeout(d time.Duration) { *c.happened = append(*c.happened, d.String()) }

// broken is a sink that panics.
type broken struct{}

func (broken) Step(metrics.Record) { panic("the sink is broken") }
func (broken) Close() error        { return nil }

// TestRunAbortsTheOthers: a rank that ends early aborts its communicators itself, so
// that nobody waits for it whose caller does not.
func TestRunAbortsTheOthers(t *testing.T) {
	run := resolved(t, 2, small(join(tokens, f32Args, []string{"--comm.init_timeout_seconds=5", "--comm.train_timeout_seconds=5"})...))
	list := ranks.Open(t, 2, ranks.Options{})
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, r := range list {
		wg.Go(func() {
			sink := metrics.Tee()
			if i == 0 {
				sink = broken{}
			}
			errs[i] = Run(context.Background(), Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}, sink)
		})
	}
	wg.Wait()
	if aborted, ok := errors.AsType[*comm.AbortError](errs[1]); !ok || aborted.Rank != 0 || !strings.Contains(aborted.Error(), "the sink is broken") {
		t.Errorf("rank 1 ended with %v, want rank 0's abort; rank 0's own error is %v", errs[1], errs[0])
	}
}
