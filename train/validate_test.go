// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// validated are the flags of a validation on the training data itself.
func validated(more ...string) []string {
	return append([]string{
		"--validation.enable", "--validation.dataset=tokens", "--validation.dataset_path=" + golden + "llama_tokens.u16",
		"--validation.seq_len=64",
	}, more...)
}

// TestAValidationIsTheLossOfTraining on the same tokens with the same weights, on
// any number of ranks, in float32, bfloat16 and float8: the golden model at
// learning rate 0. Its sums are those of training, but for the place at which the
// number of tokens divides.
func TestAValidationIsTheLossOfTraining(t *testing.T) {
	for name, kind := range map[string][]string{"f32": f32Args, "bf16": nil, "float8": join(float8, gather)} {
		t.Run(name, func(t *testing.T) {
			for _, ranks := range []int{1, 2, 4} {
				args := goldenArgs(fmt.Sprint(8/ranks), join(kind, validated(fmt.Sprint("--validation.local_batch_size=", 8/ranks), "--validation.steps=1", "--validation.freq=2"), []string{"--optimizer.lr=1e-30"})...)
				records := runRanks(t, ranks, args)
				var losses []float64
				for _, r := range records {
					if want := r.Step == 1 || r.Step%2 == 0; (r.Validation != nil) != want {
						t.Fatalf("step %d: validation %v", r.Step, r.Validation)
					}
					if r.Validation != nil {
						losses = append(losses, r.Validation.Loss)
					}
				}
				if first := records[0]; relative(losses[0], first.Loss) > 2e-7 || first.Validation.Tokens != 8*64 {
					t.Errorf("%d ranks: validation %.9f of %d tokens, training %.9f of %d", ranks, losses[0], first.Validation.Tokens, first.Loss, 8*64)
				}
				for _, l := range losses {
					if l != losses[0] {
						t.Errorf("%d ranks: validations %v of the same weights", ranks, losses)
						break
					}
				}
			}
		})
	}
}

// TestValidationDoesNotDependOnTheRanks for the same batches.
func TestValidationDoesNotDependOnTheRanks(t *testing.T) {
	loss := func(ranks int, degrees ...string) (l []float64) {
		for _, r := range runRanks(t, ranks, goldenArgs(fmt.Sprint(8/ranks), join(f32Args, degrees, validated(fmt.Sprint("--validation.local_batch_size=", 4/ranks), "--validation.steps=3", "--validation.freq=10"))...)) {
			if r.Validation != nil {
				l = append(l, r.Validation.Loss)
			}
		}
		return l
	}
	one := loss(1)
	for _, on := range []struct{ ranks, replicas int }{{2, 1}, {4, 1}, {2, 2}, {4, 2}} {
		for i, l := range loss(on.ranks, replicated(on.replicas)...) {
			if relative(l, one[i]) > 1e-6 {
				t.Errorf("%d ranks, %d replicas: validation %d is %.9f, on one rank %.9f", on.ranks, on.replicas, i, l, one[i])
			}
		}
	}
	if len(one) != 3 || !(one[2] < one[0]-0.5) {
		t.Errorf("validations %v, want three that fall", one)
	}
}

// TestValidationChangesNoBitOfTraining, in the setting with most state.
func TestValidationChangesNoBitOfTraining(t *testing.T) {
	curve := func(more ...string) (losses, norms []float64) {
		for _, r := range runRanks(t, 2, goldenArgs("4", join(float8, gather, more)...)) {
			losses, norms = append(losses, r.Loss), append(norms, r.GradNorm)
		}
		return losses, norms
	}
	losses, norms := curve()
	with, withNorms := curve(validated("--validation.local_batch_size=3", "--validation.steps=2", "--validation.freq=1")...)
	if !slices.Equal(losses, with) || !slices.Equal(norms, withNorms) {
		t.Errorf("losses %v, with validations %v", losses, with)
	}
}

// TestEvaluationsMemoryDoesNotGrowWithDepth: it holds no gradient and no
// activation of a layer that is done.
func TestEvaluationsMemoryDoesNotGrowWithDepth(t *testing.T) {
	peak := func(layers, ranks int) (peak int) {
		args := small(join(tokens, float8, gather, []string{"--validation.enable", "--validation.dataset=tokens", "--validation.dataset_path=" + golden + "llama_tokens.u16", "--validation.local_batch_size=4", "--validation.seq_len=64", "--validation.steps=2",
			"--training.local_batch_size=1", "--training.steps=1", fmt.Sprint("--model.args.n_layers=", layers)})...)
		for rank, err := range onRanks(t, ranks, args, func(rank int, tr *Trainer) error {
			if _, err := tr.Validate(); err != nil { // the rotary table is made
				return err
			}
			live := tr.model.Ctx().Pool.Live()
			if _, err := tr.Validate(); err != nil {
				return err
			}
			if now := tr.model.Ctx().Pool.Live(); now != live {
				t.Errorf("%d layers: %d bytes in use after a validation, %d before", layers, now, live)
			}
			if rank == 0 {
				peak = tr.model.Ctx().Pool.Peak() - live
			}
			return nil
		}) {
			if err != nil {
				t.Fatalf("rank %d: %v", rank, err)
			}
		}
		return peak
	}
	for _, ranks := range []int{1, 2, 4} {
		four, eight, sixteen := peak(4, ranks), peak(8, ranks), peak(16, ranks)
		if four != eight || eight != sixteen || four == 0 {
			t.Errorf("%d ranks: at most %d, %d and %d bytes in 4, 8 and 16 layers, want the same", ranks, four, eight, sixteen)
		}
	}
}

// TestValidateSaysThatItIsOff: a library's caller may ask all the same.
func TestValidateSaysThatItIsOff(t *testing.T) {
	for _, err := range onRanks(t, 1, small(join(tokens, f32Args)...), func(_ int, tr *Trainer) error {
		_, err := tr.Validate()
		return err
	}) {
		if err == nil || !strings.Contains(err.Error(), "validation.enable = false") {
			t.Errorf("got %v, want that validation.enable is false", err)
		}
	}
}

// TestBitsPerByteAreOfText.
func TestBitsPerByteAreOfText(t *testing.T) {
	text := writeFile(t, "text.txt", slices.Repeat([]byte("all work and no play. "), 40))
	args := small("--training.dataset=text", "--training.dataset_path="+text, "--training.local_batch_size=1", "--training.steps=1",
		"--validation.enable", "--validation.dataset=text", "--validation.dataset_path="+text, "--validation.local_batch_size=2", "--validation.seq_len=32")
	v := runRanks(t, 1, args)[0].Validation
	if v == nil || v.BitsPerByte != v.Loss/math.Ln2 {
		t.Fatalf("validation %+v", v)
	}
	if v.Tokens < 800 { // steps = -1: the whole text
		t.Errorf("%d tokens of a text of %d", v.Tokens, 22*40)
	}
	if got := runRanks(t, 1, args[:len(args)-5])[0].Validation; got != nil {
		t.Errorf("validation %+v that nobody asked for", got)
	}
}
