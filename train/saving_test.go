// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/config"
	"octet/device"
	"octet/dtensor"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/tensor"
	"octet/test/ranks"
	"octet/train/preflight"
	"octet/train/resume"
)

// saving are the flags of a run that saves whole states every n steps.
func saving(folder string, n int, more ...string) []string {
	return append([]string{"--checkpoint.enable", "--job.dump_folder=" + folder, fmt.Sprint("--checkpoint.interval=", n), "--checkpoint.keep_latest_k=0", "--checkpoint.no_last_save_model_only"}, more...)
}

// courseOf trains on goroutine ranks, as cmd/octet does, and returns rank 0's records and what it logged.
func courseOf(t *testing.T, n int, args []string, change func(rank int, j *Job)) ([]metrics.Record, string, error) {
	t.Helper()
	run := resolved(t, n, args)
	contents, err := preflight.Contents(run)
	if err != nil {
		return nil, "", err
	}
	var kept memory
	core, logs := observer.New(zap.InfoLevel)
	var first error
	var mu sync.Mutex
	ranks.Each(ranks.Open(t, n, ranks.Options{}), func(r *ranks.Rank) error {
		j := Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop(), Contents: contents, ID: "test", Owner: rand.Text()}
		sink := metrics.Tee()
		if r.Rank == 0 {
			j.Log, sink = zap.New(core), &kept
		}
		if change != nil {
			change(r.Rank, &j)
		}
		err := Run(context.Background(), j, sink)
		mu.Lock()
		defer mu.Unlock()
		if err != nil && first == nil {
			first = err
		}
		return err
	})
	var said strings.Builder
	for _, e := range logs.All() {
		fmt.Fprintln(&said, e.Message)
	}
	return kept.records, said.String(), first
}

// course is courseOf of a run that ends well.
func course(t *testing.T, n int, args []string) []metrics.Record {
	t.Helper()
	records, said, err := courseOf(t, n, args, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return records
}

// sums are those of all parts of all tensors of a checkpoint, by name and box.
func sums(t *testing.T, folder string, step int) map[string]checkpoint.CRC {
	t.Helper()
	c, err := checkpoint.Open(filepath.Join(folder, "checkpoint", checkpoint.StepName(step)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := map[string]checkpoint.CRC{}
	for name, x := range c.Index.Tensors {
		for _, p := range x.Parts {
			all[fmt.Sprint(name, p.Box)] = p.CRC32C
		}
	}
	return all
}

// same fails unless the records are those, to the last bit.
func same(t *testing.T, got, want []metrics.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i, r := range got {
		w := want[i]
		if r.Step != w.Step || r.Loss != w.Loss || r.GradNorm != w.GradNorm || r.LR != w.LR || r.Tokens != w.Tokens {
			t.Fatalf("step %d: loss %v, norm %v, lr %v; undisturbed step %d: %v, %v, %v", r.Step, r.Loss, r.GradNorm, r.LR, w.Step, w.Loss, w.GradNorm, w.LR)
		}
	}
}

// TestARunGoesOnBitForBit from any checkpoint, saved beside the steps or not, under each arithmetic that has a state:
// losses, norms and learning rates are those of the undisturbed run, and so is all that it saves.
func TestARunGoesOnBitForBit(t *testing.T) {
	for name, kind := range map[string][]string{"f32": f32Args, "float8": join(float8, gather), "delayed": join(float8, named("delayed"), gather[:1])} {
		for _, n := range []int{1, 2} {
			for _, mode := range []string{"disabled", "async"} {
				t.Run(fmt.Sprintf("%s, %d ranks, %s", name, n, mode), func(t *testing.T) {
					args := func(folder string) []string {
						return small(join(tokens, kind, saving(folder, 3), []string{
							"--training.steps=10", "--training.global_batch_size=4", "--training.local_batch_size=1", "--checkpoint.async_mode=" + mode,
							"--training.dataset=text", "--training.dataset_path=../README.md"})...) // in another order every epoch
					}
					whole, parts := t.TempDir(), t.TempDir()
					want := course(t, n, args(whole))
					_, said, err := courseOf(t, n, args(parts), func(_ int, j *Job) {
						j.Stop = afterSteps(j, 4)
					})
					if err != nil || !strings.Contains(said, "stopped by a signal after step ") {
						t.Fatalf("%v\n%s", err, said)
					}
					list, err := checkpoint.Whole(filepath.Join(parts, "checkpoint"))
					if err != nil || len(list) < 2 {
						t.Fatalf("%v, %v", list, err)
					}
					last := list[len(list)-1].Step
					same(t, course(t, n, args(parts)), want[last:])
					for _, step := range []int{3, 9, 10} {
						if got, want := sums(t, parts, step), sums(t, whole, step); !maps.Equal(got, want) || len(got) < 20 {
							t.Errorf("step %d: the checkpoint's %d parts are not those of the undisturbed run's %d", step, len(got), len(want))
						}
					}
					// From an earlier one: what came after it stays, by another name.
					later, err := checkpoint.Whole(filepath.Join(parts, "checkpoint"))
					if err != nil {
						t.Fatal(err)
					}
					same(t, course(t, n, append(args(parts), "--checkpoint.load_step=3")), want[3:])
					for _, l := range later {
						if _, err := checkpoint.Open(l.Dir + ".1"); l.Step > 3 && err != nil {
							t.Errorf("step %d is not set aside: %v", l.Step, err)
						}
					}
					if got, want := sums(t, parts, 10), sums(t, whole, 10); !maps.Equal(got, want) {
						t.Error("after going on from step 3, step 10 is not that of the undisturbed run")
					}
				})
			}
		}
	}
}

// afterSteps is a signal that comes when the rank has done so many steps.
func afterSteps(j *Job, n int) <-chan struct{} {
	stop := make(chan struct{})
	var steps atomic.Int64
	j.Alive = func() { // after each step, and by who saves beside it
		if steps.Add(1) == int64(n) {
			close(stop)
		}
	}
	return stop
}

// TestTheLastSave is of weights alone, in the type that is asked for, unless whole states are; no run goes on from those, but
// others begin with them.
func TestTheLastSave(t *testing.T) {
	args := small(join(tokens, f32Args, []string{"--training.steps=3", "--training.local_batch_size=2"})...)
	whole := t.TempDir()
	course(t, 1, append(args, saving(whole, 500)...))
	c, err := checkpoint.Open(filepath.Join(whole, "checkpoint", "step-3"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for as, kind := range map[string]safetensors.DType{"float32": safetensors.F32, "float16": safetensors.F16, "bfloat16": safetensors.BF16} {
		folder := t.TempDir()
		only := append(args, "--checkpoint.enable", "--job.dump_folder="+folder, "--checkpoint.export_dtype="+as)
		course(t, 1, only)
		dir := filepath.Join(folder, "checkpoint", "step-3")
		w, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Names())*3+1 != len(c.Names()) || !w.Index.ModelOnly || c.Index.ModelOnly {
			t.Errorf("%s: %q, of a whole state %q", as, w.Names(), c.Names())
		}
		for _, name := range w.Names() {
			got, shape, _ := w.Lookup(name)
			if got != kind {
				t.Errorf("%s is of type %s, want %s", name, got, kind)
			}
			box := dtensor.Whole(shape)
			raw, values, want := make([]byte, box.Numel()*kind.Size()), make([]float32, box.Numel()), make([]byte, box.Numel()*kind.Size())
			if err := errors.Join(w.Read(name, box, raw), c.Read(name, box, device.Float32Bytes(values)), safetensors.EncodeFloat32(want, kind, values)); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(raw, want) {
				t.Errorf("%s: %s is not the weight, rounded", as, name)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if _, said, err := courseOf(t, 1, only, nil); err != nil || !strings.Contains(said, "training.steps = 3 are done: nothing is left to do") {
			t.Errorf("again: %v\n%s", err, said)
		}
		if _, _, err := courseOf(t, 1, append(only, "--training.steps=4"), nil); err == nil || !strings.Contains(err.Error(), dir+" has weights only (checkpoint.last_save_model_only), with which no run goes on") {
			t.Errorf("a run of more steps: %v", err)
		}
		records, _, err := courseOf(t, 2, append(args, "--checkpoint.initial_load_path="+dir), nil)
		if err != nil || records[0].Step != 1 {
			t.Errorf("a run that begins with them: %v, %v", records, err)
		}
	}
}

// held is a device whose checkpoint stream copies nothing until it is let go.
type held struct {
	device.Device
	let chan struct{}
}

func (d *held) NewStream(name string) device.Stream {
	s := d.Device.NewStream(name)
	if name != "checkpoint" {
		return s
	}
	return &heldStream{s.(device.HostStream), d.let}
}

type heldStream struct {
	device.HostStream
	let chan struct{}
}

func (s *heldStream) Download(dst []byte, src *tensor.Tensor) {
	s.HostStream.Call("held", func() error {
		<-s.let
		return nil
	})
	s.HostStream.Download(dst, src)
}

// TestAnAsynchronousSaveIsWrittenBesideSteps: it has what the step left although the next one has begun before the copy was made,
// whose update waits for that; one that is not asynchronous is there when the next step begins.
func TestAnAsynchronousSaveIsWrittenBesideSteps(t *testing.T) {
	kind := join(tokens, f32Args, []string{"--training.steps=3", "--training.local_batch_size=2"})
	whole := t.TempDir()
	course(t, 1, small(append(kind, saving(whole, 1)...)...))
	for _, mode := range []string{"async", "async_with_pinned_mem"} {
		folder := t.TempDir()
		dir := filepath.Join(folder, "checkpoint", "step-1")
		args := small(append(kind, saving(folder, 1, "--checkpoint.async_mode="+mode)...)...)
		let := make(chan struct{})
		release := sync.OnceFunc(func() { close(let) })
		for _, err := range onRanksOf(t, 1, args, func(_ int, j *Job) {
			j.Device = &held{j.Device, let}
		}, func(_ int, tr *Trainer) error {
			defer release()
			if _, err := tr.Step(); err != nil {
				return err
			}
			if err := tr.save(); err != nil { // returns, although nothing is copied
				return err
			}
			if _, err := checkpoint.Open(dir); err == nil {
				t.Error("the checkpoint is there before anything was copied")
			}
			done := make(chan error)
			go func() {
				_, err := tr.Step()
				done <- err
			}()
			select {
			case err := <-done:
				return fmt.Errorf("the step has ended before the copy was made (%w)", err)
			case <-time.After(200 * time.Millisecond): // it is at its update, or was wrong to wait elsewhere
			}
			release()
			return errors.Join(<-done, tr.saver.Wait())
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if got, want := sums(t, folder, 1), sums(t, whole, 1); !maps.Equal(got, want) {
			t.Errorf("%s: the checkpoint is not of the step that it is called by", mode)
		}
	}
}

// TestASignalOfOneRankStopsAll after the same step, which is saved; without saving nobody listens.
func TestASignalOfOneRankStopsAll(t *testing.T) {
	folder := t.TempDir()
	args := small(join(tokens, f32Args, saving(folder, 500), []string{"--training.steps=1000", "--training.local_batch_size=1"})...)
	records, said, err := courseOf(t, 3, args, func(rank int, j *Job) {
		if rank == 2 {
			j.Stop = afterSteps(j, 3)
		}
	})
	if err != nil || len(records) < 3 || len(records) > 5 {
		t.Fatalf("%d steps, %v\n%s", len(records), err, said)
	}
	list, err := checkpoint.Whole(filepath.Join(folder, "checkpoint"))
	if last := records[len(records)-1].Step; err != nil || len(list) != 1 || list[0].Step != last {
		t.Errorf("checkpoints %v, %v, after step %d", list, err, last)
	}
}

// TestASeedCheckpointBeginsAnyLayout with the same weights, at step 1, and does not go on where it is asked for again.
func TestASeedCheckpointBeginsAnyLayout(t *testing.T) {
	args := small(join(tokens, f32Args, []string{"--training.steps=4", "--training.global_batch_size=4"})...)
	one := append(args, "--training.local_batch_size=4")
	want := course(t, 1, one)
	folder := t.TempDir()
	seed := join(one, saving(folder, 500), []string{"--checkpoint.create_seed_checkpoint"})
	if records := course(t, 1, seed); len(records) != 0 {
		t.Fatalf("%d steps of a seed checkpoint", len(records))
	}
	if _, _, err := courseOf(t, 1, seed, nil); err == nil || !strings.Contains(err.Error(), "checkpoint.create_seed_checkpoint: there are checkpoints in ") {
		t.Errorf("again: %v", err)
	}
	two := course(t, 2, join(args, saving(folder, 500), []string{"--training.local_batch_size=2", "--debug.seed=7"}))
	if two[0].Step != 1 || relative(two[0].Loss, want[0].Loss) > 1e-6 {
		t.Errorf("began with loss %v at step %d, want %v at step 1", two[0].Loss, two[0].Step, want[0].Loss)
	}
}

// TestPartsAreLeftOut as checkpoint.exclude_from_loading says, and begin anew; a checkpoint of another folder is
// gone on from where that is asked for.
func TestPartsAreLeftOut(t *testing.T) {
	folder := t.TempDir()
	args := small(join(tokens, f32Args, []string{"--training.steps=6", "--training.local_batch_size=2"})...)
	want := course(t, 1, append(args, saving(folder, 3)...))
	from := func(without string) []metrics.Record {
		more := []string{"--checkpoint.initial_load_path=" + filepath.Join(folder, "checkpoint", "step-3"), "--checkpoint.no_initial_load_model_only"}
		return course(t, 1, append(append(args, more...), "--checkpoint.exclude_from_loading="+without))
	}
	same(t, from(""), want[3:])
	fresh := course(t, 1, args)
	for without, is := range map[string]func(r []metrics.Record) bool{
		"optimizer":    func(r []metrics.Record) bool { return r[0].Loss == want[3].Loss && r[1].Loss != want[4].Loss },
		"dataloader":   func(r []metrics.Record) bool { return r[0].Loss != want[3].Loss && r[0].LR == want[3].LR },
		"lr_scheduler": func(r []metrics.Record) bool { return r[0].Loss == want[3].Loss && r[0].LR == want[0].LR },
		"model": func(r []metrics.Record) bool {
			return r[0].Step == 4 && r[0].Loss > want[3].Loss && r[0].LR == want[3].LR
		},
		"train_state": func(r []metrics.Record) bool { return r[0].Step == 1 && r[0].Loss == want[3].Loss && len(r) == 6 },
		"model,optimizer,lr_scheduler,dataloader,train_state": func(r []metrics.Record) bool {
			return len(r) == 6 && r[5].Loss == fresh[5].Loss
		},
	} {
		if r := from(without); !is(r) {
			t.Errorf("without %s: %+v", without, r)
		}
	}
}

// TestWhatDoesNotFitIsRefused before anything is loaded, all of it at once.
func TestWhatDoesNotFitIsRefused(t *testing.T) {
	folder := t.TempDir()
	base := join(tokens, f32Args, []string{"--training.steps=4", "--training.local_batch_size=2"})
	course(t, 1, small(append(base, saving(folder, 2)...)...))
	dir := filepath.Join(folder, "checkpoint", "step-4")
	other := filepath.Join(t.TempDir(), "other.u16")
	if err := os.WriteFile(other, make([]byte, 4000), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"--model.args.dim=32 --model.args.norm_eps=0.1", []string{
			dir + " is of another model: Dim is 16 there, 32 here", dir + " is of another model: NormEps is 1e-05 there, 0.1 here",
			dir + " is of another model: layers.0.attention.wq.weight is [16 16] there, [32 32] here"}},
		{"--model.args.n_layers=3", []string{"Layers is 2 there, 3 here", "layers.2.attention.wq.weight [16 16] is missing"}},
		{"--training.seq_len=32", []string{"training.seq_len = 32: " + dir + " has its place in windows of 16 tokens; set it to that, or begin the data anew with checkpoint.exclude_from_loading"}},
		{"--debug.seed=3", []string{"debug.seed = 3: " + dir + " has its place in the order of seed 0"}},
		{"--training.dataset_path=" + other, []string{"training.dataset_path: " + dir + " was made with other data: 10241 tokens with the fingerprint "}},
		{"--checkpoint.load_step=3", []string{"checkpoint.load_step = 3: there is no such checkpoint in " + filepath.Join(folder, "checkpoint") + "; there are: 2, 4"}},
	} {
		args := small(join(base, saving(folder, 2), []string{"--training.steps=9"}, strings.Fields(tt.args))...)
		_, _, err := courseOf(t, 2, args, nil)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", tt.args, err, want)
			}
		}
		if !strings.Contains(tt.args, "model.args") && !strings.Contains(tt.args, "load_step") {
			if _, _, err := courseOf(t, 1, append(args, "--checkpoint.exclude_from_loading=dataloader", "--checkpoint.load_only"), nil); err != nil {
				t.Errorf("%s, without the data's place: %v", tt.args, err)
			}
		}
	}
	for _, tt := range []struct {
		want string
		harm func() error
	}{
		{"rank-00000.safetensors: no such file or directory: the checkpoint lacks this file of 1", func() error {
			return os.Rename(filepath.Join(dir, "rank-00000.safetensors"), filepath.Join(folder, "away"))
		}},
		{"index.json: its last field is not the crc32c of all before: a byte was changed, or it is cut short; an earlier checkpoint is loaded with checkpoint.load_step", func() error {
			return os.Truncate(filepath.Join(dir, "index.json"), 100)
		}},
	} {
		if err := tt.harm(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := courseOf(t, 2, small(join(base, saving(folder, 2), []string{"--training.steps=9"})...), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	// The one before is whole.
	if r := course(t, 2, small(join(base, saving(folder, 2), []string{"--training.steps=5", "--checkpoint.load_step=2"})...)); r[0].Step != 3 {
		t.Errorf("went on at step %d", r[0].Step)
	}
}

// TestAFolderThatGoesAwayIsMadeAgain: the save is told to have failed, or is not noticed, and the run goes on.
func TestAFolderThatGoesAwayIsMadeAgain(t *testing.T) {
	for _, mode := range []string{"disabled", "async"} {
		folder := t.TempDir()
		args := small(join(tokens, f32Args, saving(folder, 2, "--checkpoint.async_mode="+mode), []string{"--training.steps=8", "--training.local_batch_size=1"})...)
		records, said, err := courseOf(t, 2, args, func(rank int, j *Job) {
			var steps atomic.Int64
			j.Alive = func() {
				if steps.Add(1) == 3 && rank == 0 {
					if err := os.RemoveAll(filepath.Join(folder, "checkpoint")); err != nil {
						t.Log(err) // a file came while it went
					}
				}
			}
		})
		if err != nil || len(records) != 8 {
			t.Fatalf("%s: %d steps, %v\n%s", mode, len(records), err, said)
		}
		if list, err := checkpoint.Whole(filepath.Join(folder, "checkpoint")); err != nil || len(list) == 0 || list[len(list)-1].Step != 8 {
			t.Errorf("%s: checkpoints %v, %v\n%s", mode, list, err, said)
		}
	}
}

// TestAttemptsOfAJobGoOnFromTheirOwn checkpoints: which one the first began with, and without what, is no matter to the
// next.
func TestAttemptsOfAJobGoOnFromTheirOwn(t *testing.T) {
	folder := t.TempDir()
	args := small(join(tokens, f32Args, saving(folder, 2), []string{"--training.steps=8", "--training.local_batch_size=1"})...)
	var first string
	if _, _, err := courseOf(t, 1, append(args, "--training.steps=4"), func(_ int, j *Job) { first = j.Owner }); err != nil {
		t.Fatal(err)
	}
	again := append(args, "--checkpoint.load_step=2", "--checkpoint.exclude_from_loading=optimizer")
	cfg, err := config.Load(again)
	if err != nil {
		t.Fatal(err)
	}
	run, err := plan.Resolve(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]resume.Start{
		"":        {Dir: "step-2", Own: true, Step: 2, Without: []string{"optimizer"}},
		"another": {Dir: "step-2", Own: true, Step: 2, Without: []string{"optimizer"}},
		first:     {Dir: "step-4", Own: true, Step: 4},
	} {
		start, err := resume.Find(run, nil, job)
		if err != nil || filepath.Base(start.Dir) != want.Dir || start.Step != want.Step || !slices.Equal(start.Without, want.Without) {
			t.Errorf("job %q begins at %+v, %v; want %+v", job, start, err, want)
		}
	}
}
