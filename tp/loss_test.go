// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"strings"
	"testing"

	"octet/comm"
	"octet/comm/record"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// TestTheLossOfASlicedVocabulary: losses and gradients are those of one rank, with ignored
// targets, parts of uneven sizes and a rank without any; three numbers a token travel forward, none
// in backward.
func TestTheLossOfASlicedVocabulary(t *testing.T) {
	targets := []int32{0, device.Ignored, 4, 3, 2, 1, device.Ignored, 4, 0}
	for _, vocab := range []int{5, 6, 7, 8} {
		logits := random(3, []int{len(targets), vocab})
		type result struct {
			loss float32
			g    []float32
		}
		on := func(n int, mode nn.Mode) []result {
			results := make([]result, n)
			ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
				rig, log := nntest.New(t, r.Device, dtype.Float32), &record.Log{Keep: true}
				rig.Ctx.Mode = mode
				lo, width := dtensor.Chunk(vocab, n, r.Rank)
				y := rig.Ctx.Op(func(*nn.Var) {}, len(targets), width)
				own := cutOf(logits, []int{len(targets), vocab}, part, n, r.Rank)
				rig.Ctx.Stream.Copy(y.Value.Tensor, rig.Put(own, len(targets), width))
				if n > 1 {
					y.Slice = &nn.Slice{Offset: lo, Of: vocab, Group: record.New(r.World, log)}
				}
				loss := rig.Loss(0.5)
				nn.CrossEntropy(rig.Ctx, y, rig.IDs(targets, len(targets)))
				got := result{loss: rig.Get(loss)[0]}
				if mode.Defers() {
					got.g = rig.Get(y.Grad().Tensor)
					rig.Ctx.Tape.Backward()
				}
				if live := rig.Ctx.Pool.Live(); live != 0 {
					return fmt.Errorf("%d bytes are left", live)
				}
				const want = "all-reduce max float32[9], 36 bytes; all-reduce sum float32[9] float32[9], 72 bytes"
				var calls []string
				for _, c := range log.Take() {
					if c.Kind != comm.AllReduce {
						return fmt.Errorf("a %v", c.Kind)
					}
					_, call, _ := strings.Cut(c.String(), " #")
					_, call, _ = strings.Cut(call, " ")
					calls = append(calls, call)
				}
				if got := strings.Join(calls, "; "); n > 1 && got != want {
					return fmt.Errorf("%q, want %q", got, want)
				}
				results[r.Rank] = got
				return nil
			})
			return results
		}
		want := on(1, nn.Train)[0]
		for _, n := range []int{2, 3, 4} {
			for rank, got := range on(n, nn.Train) {
				if d := nntest.Off([]float32{got.loss}, []float32{want.loss}); !(d < 1e-6) {
					t.Errorf("vocabulary %d on %d ranks: loss %v, want %v", vocab, n, got.loss, want.loss)
				}
				g := cutOf(want.g, []int{len(targets), vocab}, part, n, rank)
				if d := nntest.Off(got.g, g); len(g) > 0 && !(d < 1e-6) {
					t.Errorf("vocabulary %d on %d ranks: the gradient of rank %d is off by %.2g", vocab, n, rank, d)
				}
			}
			if got := on(n, nn.Eval)[0]; got.loss != on(n, nn.Train)[0].loss {
				t.Errorf("vocabulary %d on %d ranks: evaluation has loss %v", vocab, n, got.loss)
			}
		}
	}
}

// TestALossThatNeedsAllOfAValue says so.
func TestALossThatNeedsAllOfAValue(t *testing.T) {
	rig := nntest.New(t, ranks.Device(t, ranks.Options{}), dtype.Float32)
	y := rig.Ctx.Op(func(*nn.Var) {}, 2, 3)
	y.Slice = &nn.Slice{Of: 6}
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "MeanSquaredError of a value [2 3] of which each rank has a part") {
			t.Error(text)
		}
	}()
	nn.MeanSquaredError(rig.Ctx, y, rig.Put(make([]float32, 6), 2, 3))
}
