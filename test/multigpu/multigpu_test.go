// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"octet/comm"
	"octet/comm/record"
	"octet/config"
	"octet/dtype"
	"octet/metrics"
	"octet/test/ranks"
	"octet/train"
	"octet/train/preflight"
)

// integration is a test by name.
type integration struct {
	args []string // beside those of every test
	// near is how far the losses of other numbers of ranks may be from those of
	// one, relatively: each rank scales its own activations in float8.
	near float64
	// weights is the type in which weights travel.
	weights dtype.Type
	// batch and steps are of a run; 0 is globalBatch, and steps.
	batch, steps int
	// degrees are the flags of several ranks, of which so many share each module and its data (0: 1).
	degrees []string
	tensor  int
	on      []int // numbers of ranks, the first of them as processes too; nil is 2 and 3
}

func TestFSDP(t *testing.T) {
	integration{near: 1e-5, weights: dtype.Float32}.run(t)
}

func TestFSDPFloat8Gather(t *testing.T) { float8Gather().run(t) }

func float8Gather() integration {
	return integration{
		args: []string{
			"--model.converters=quantize.linear.float8", "--quantize.linear.float8.enable_fsdp_float8_all_gather",
			"--quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp", "--quantize.linear.float8.filter_fqns=output",
		},
		near: 2e-2, weights: dtype.Float8E4M3,
	}
}

// TestHSDP has two replicas of a model, each over two, one or three ranks.
func TestHSDP(t *testing.T) {
	integration{near: 1e-5, weights: dtype.Float32, degrees: []string{"--parallelism.data_parallel_replicate_degree=2"}, on: []int{4, 2, 6}, batch: 12}.run(t)
}

// TestHSDPFloat8Gather is TestHSDP with weights that travel in float8.
func TestHSDPFloat8Gather(t *testing.T) {
	i := float8Gather()
	i.degrees, i.on, i.batch = []string{"--parallelism.data_parallel_replicate_degree=2"}, []int{4, 6}, 12
	i.run(t)
}

// TestDDP has a replica on each rank.
func TestDDP(t *testing.T) {
	integration{near: 1e-5, weights: dtype.Float32, degrees: []string{"--parallelism.data_parallel_shard_degree=1", "--parallelism.data_parallel_replicate_degree=2"}, on: []int{2}}.run(t)
}

// TestTPSP is torchtitan's "2d" without shards: two ranks share each layer, and its tokens between them.
func TestTPSP(t *testing.T) {
	integration{near: 1e-5, weights: dtype.Float32, tensor: 2, on: []int{2}}.run(t)
}

// TestTPWithoutSP has all tokens on each rank between the layers, and all logits.
func TestTPWithoutSP(t *testing.T) {
	integration{near: 1e-5, weights: dtype.Float32, tensor: 2, on: []int{2},
		degrees: []string{"--parallelism.no_enable_sequence_parallel", "--parallelism.disable_loss_parallel"}}.run(t)
}

// Test2D has pairs of ranks share layers, and pairs of pairs weights.
func Test2D(t *testing.T) {
	integration{near: 1e-5, weights: dtype.Float32, tensor: 2, on: []int{4, 6}}.run(t)
}

// TestEverything is all at once: replicas of shards of parts, in float8, run again in backward.
func TestEverything(t *testing.T) {
	i := float8Gather()
	i.args = append(i.args, "--activation_checkpoint.mode=selective", "--activation_checkpoint.selective_ac_option=op", "--model.args.dim=64")
	i.tensor, i.batch, i.on, i.degrees = 2, 8, []int{8}, []string{"--parallelism.data_parallel_replicate_degree=2"}
	i.run(t)
}

const globalBatch, steps = 6, 8

// flags are those of a run on n ranks.
func (i integration) flags(t *testing.T, n int, folder string) []string {
	t.Helper()
	tokens, err := filepath.Abs("../../testdata/golden/llama_tokens.u16")
	if err != nil {
		t.Fatal(err)
	}
	batch, data := cmp.Or(i.batch, globalBatch), n
	var degrees []string
	if n > 1 {
		data /= max(1, i.tensor)
		degrees = append(slices.Clone(i.degrees), fmt.Sprint("--parallelism.tensor_parallel_degree=", max(1, i.tensor)))
	}
	return slices.Concat(strings.Fields(`--model.flavor=debugmodel --model.args.dim=32 --model.args.n_layers=2 --model.args.n_heads=4
		--model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=64 --model.args.vocab_size=256 --training.seq_len=16
		--training.mixed_precision_param=float32 --optimizer.lr=1e-2 --lr_scheduler.warmup_steps=2 --training.dataset=tokens`),
		[]string{
			"--training.dataset_path=" + tokens, "--job.dump_folder=" + folder, "--training.steps=" + strconv.Itoa(cmp.Or(i.steps, steps)),
			"--training.local_batch_size=" + strconv.Itoa(batch/data), "--training.global_batch_size=" + strconv.Itoa(batch),
		}, i.args, degrees)
}

// run trains on one rank and on several, and on processes.
func (i integration) run(t *testing.T) {
	one := i.goroutines(t, 1)
	if first, last := one[0].Loss, one[steps-1].Loss; !(last < 0.9*first) {
		t.Errorf("the loss goes from %v to %v: nothing was learned", first, last)
	}
	if i.on == nil {
		i.on = []int{2, 3}
	}
	var first []metrics.Record // of several
	for at, n := range i.on {
		records := i.goroutines(t, n)
		if at == 0 {
			first = records
		}
		for s, r := range records {
			if off := math.Abs(r.Loss-one[s].Loss) / one[s].Loss; !(off <= i.near) {
				t.Errorf("step %d on %d ranks: loss %v, on one %v: off by %.2g, more than %.2g", s+1, n, r.Loss, one[s].Loss, off, i.near)
			}
		}
	}
	t.Run("processes", func(t *testing.T) { i.again(t, i.on[0], first) })
}

// again trains on processes, which come to the bits of goroutines.
func (i integration) again(t *testing.T, n int, goroutines []metrics.Record) {
	t.Helper()
	for s, r := range i.processes(t, n) {
		if want := goroutines[s]; r.Step != want.Step || r.Loss != want.Loss || r.GradNorm != want.GradNorm || r.CommBytes != want.CommBytes {
			t.Errorf("step %d: %+v, goroutines had %+v", s+1, r, want)
		}
	}
}

// goroutines trains on n ranks of this process, whose devices are closed then, and
// returns what each step reported, the same on all ranks.
func (i integration) goroutines(t *testing.T, n int) (records []metrics.Record) {
	t.Helper()
	if !t.Run(fmt.Sprint(n, " ranks"), func(t *testing.T) { records = i.together(t, n) }) {
		t.FailNow()
	}
	return records
}

func (i integration) together(t *testing.T, n int) []metrics.Record {
	t.Helper()
	logs := make([]record.Log, n)
	byRank := i.train(t, n, cmp.Or(i.steps, steps), logs, (*train.Trainer).Step)
	for rank, records := range byRank {
		for s, r := range records {
			if first := byRank[0][s]; r.Loss != first.Loss || r.GradNorm != first.GradNorm {
				t.Errorf("step %d: rank %d has loss %v and norm %v, rank 0 %v and %v", s+1, rank, r.Loss, r.GradNorm, first.Loss, first.GradNorm)
			}
		}
		for _, ty := range []dtype.Type{dtype.Float32, dtype.Float8E4M3} {
			// What is in no linear layer travels as float32 all the same.
			travels := logs[rank].Count(comm.AllGather, ty).Bytes > 0
			if want := ty == i.weights || ty == dtype.Float32; travels != want {
				t.Errorf("rank %d of %d gathers %v: %v, want %v", rank, n, ty, travels, want)
			}
		}
	}
	return byRank[0]
}

// train has n ranks of this process train for so many steps, each by step, and returns what
// each rank reported. Their collectives are written to logs, if there are any.
func (i integration) train(t *testing.T, n, steps int, logs []record.Log, step func(tr *train.Trainer) (metrics.Record, error)) (byRank [][]metrics.Record) {
	t.Helper()
	cfg, err := config.Load(i.flags(t, n, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	run, err := preflight.Check(cfg, n, n, 0)
	if err != nil {
		t.Fatal(err)
	}
	byRank = make([][]metrics.Record, n)
	ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
		job := train.Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}
		if logs != nil {
			job.Record = &logs[r.Rank]
		}
		trainer, err := train.New(job)
		if err != nil {
			return err
		}
		for range steps {
			done, err := step(trainer)
			if err != nil {
				return errors.Join(err, trainer.Close())
			}
			byRank[r.Rank] = append(byRank[r.Rank], done)
		}
		return trainer.Close()
	})
	if t.Failed() {
		t.FailNow()
	}
	return byRank
}

// binaryVar is the path of octet where there is no Go to build it (test/gpucheck).
const binaryVar = "OCTET_TEST_BINARY"

// built is the path of octet.
func built(t *testing.T) string {
	t.Helper()
	if binary := os.Getenv(binaryVar); binary != "" {
		return binary
	}
	binary := filepath.Join(t.TempDir(), "octet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "octet/cmd/octet").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// processes trains on n processes that octet run starts, and returns what rank 0
// wrote to metrics.jsonl.
func (i integration) processes(t *testing.T, n int) []metrics.Record {
	t.Helper()
	device := cmp.Or(os.Getenv(ranks.DeviceVar), "cpu")
	if device == ranks.Sim {
		ranks.Simulated(t) // for the processes, too
		device = "cuda"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	binary, folder := built(t), t.TempDir()
	args := append([]string{"run", "--nproc-per-node", strconv.Itoa(n), "train", "--device.name=" + device}, i.flags(t, n, folder)...)
	if out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("octet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	text, err := os.ReadFile(filepath.Join(folder, metrics.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var records []metrics.Record
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var r metrics.Record
		if err := r.UnmarshalJSON(lines.Bytes()); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		records = append(records, r)
	}
	if want := cmp.Or(i.steps, steps); len(records) != want {
		t.Fatalf("%d steps in %s, want %d", len(records), metrics.FileName, want)
	}
	return records
}
