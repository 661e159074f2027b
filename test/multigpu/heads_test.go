// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/test/ranks"
)

// TestHeadsOf64TrainOnTensorCores: two steps in bf16 of a model whose heads the simulated GPU's tensor cores take (heads of 64, one
// for the keys of two, and more tokens than a tile has), beside the CPU, which computes attention otherwise: it rounds neither P nor
// dS. Of the weights all are trained, or those alone that have gradients by way of attention's, of q, k and v; the norm is theirs then.
//
// What both make is the same but for roundings. There are 13 in a layer's forward (norm, q, k, v, two by rope, P, o, product and sum,
// norm, two products, SwiGLU, product and sum) and twice as many in its backward, with dS; with those of the last norm and of the
// logits two layers have 82. Each is by half of u = 2^-8 at most on either side, and they are independent, so the norm is off by
// u·√82 at most, relatively. A loss has 28 of them in its logits z, and changes by 2·|Δz| at most: by 2u·√28·rms(z), where rms(z)
// is 0.02·√128 at first, weights being drawn from N(0, 0.02²), and after one update by 0.01 or less of each weight below 0.2 as well.
func TestHeadsOf64TrainOnTensorCores(t *testing.T) {
	const u, z = 1.0 / 256, 0.25
	for _, tt := range []struct {
		name  string
		n     int
		moved func(name string) bool
	}{
		{"all on 1", 1, func(string) bool { return true }},
		{"attention on 2", 2, ofAttention},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(ranks.DeviceVar, "")
			want := headsOf64(t, tt.n, tt.moved)
			t.Setenv(ranks.DeviceVar, ranks.Sim)
			driver := ranks.Simulated(t)
			driver.Reset()
			got := headsOf64(t, tt.n, tt.moved)
			for _, kernel := range []string{"flash64", "flash_grad_q64", "flash_grad_kv64"} {
				if n := driver.Count("launch " + kernel); n != 2*2*tt.n {
					t.Errorf("%s was launched %d times, want once a layer, step and rank", kernel, n)
				}
			}
			for s := range want {
				loss, norm := math.Abs(got[s].Loss-want[s].Loss), math.Abs(got[s].GradNorm-want[s].GradNorm)/want[s].GradNorm
				t.Logf("step %d: loss %v is off by %.2g, norm %v by %.2g of it", s+1, want[s].Loss, loss, want[s].GradNorm, norm)
				if !(loss <= 2*u*math.Sqrt(28)*z) || !(norm <= u*math.Sqrt(82)) {
					t.Errorf("step %d: loss %v and norm %v, on the CPU %v and %v", s+1, got[s].Loss, got[s].GradNorm, want[s].Loss, want[s].GradNorm)
				}
			}
		})
	}
}

func ofAttention(name string) bool {
	return strings.Contains(name, "attention.w") && !strings.Contains(name, "attention.wo")
}

// headsOf64 trains for two steps on n ranks, which have a part of the sequences each, and returns rank 0's results.
func headsOf64(t *testing.T, n int, moved func(name string) bool) (results []parallel.Result) {
	t.Helper()
	const batch, seq = 2, 80
	args := llama.Args{Dim: 128, Layers: 2, Heads: 2, KVHeads: 1, Vocab: 96, FFNHiddenDim: 160, NormEps: 1e-5, RopeTheta: 1e4, MaxSeqLen: seq}
	plan := parallel.Plan{Units: []string{"tok_embeddings", "layers.*", "norm+output"}, FSDP: fsdp.Options{Param: dtype.BFloat16}}
	ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
		model := llama.New(args, seq)
		for name, p := range nn.Parameters(model) {
			if !moved(name) {
				p.Freeze()
			}
		}
		m, err := plan.Shard(model, r.World, r.Device)
		if err != nil {
			return err
		}
		if err := m.Init(3); err != nil {
			return err
		}
		c := m.Ctx()
		adam, err := optim.NewAdam(r.Device, c.Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		if err != nil {
			return err
		}
		own := batch / n
		ids := make([]int32, own*seq+1)
		in, out := c.Pool.Lasting().New(dtype.Int32, own, seq), c.Pool.Lasting().New(dtype.Int32, own, seq)
		for step := range 2 {
			for i := range ids {
				at := step*1000 + r.Rank*own*seq + i
				ids[i] = int32((at*at + at/3) % args.Vocab)
			}
			c.Stream.Upload(in, device.Int32Bytes(ids[:own*seq]))
			c.Stream.Upload(out, device.Int32Bytes(ids[1:]))
			got, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-2, Count: own * seq}, func(c *nn.Ctx, _ int) {
				nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), out)
			}).Wait()
			if err != nil {
				return fmt.Errorf("step %d: %w", step+1, err)
			}
			if r.Rank == 0 {
				results = append(results, got)
			}
		}
		return nil
	})
	if t.Failed() {
		t.FailNow()
	}
	return results
}
