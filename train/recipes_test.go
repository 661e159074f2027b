// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"octet/checkpoint"
)

// TestARunGoesOnInAnotherRecipe: weights and the optimizer's state are those that were saved,
// to the bit, whatever recipe saved them; losses stay near those of one that does not change;
// and it is told what of a recipe's own is not there, or is not wanted.
func TestARunGoesOnInAnotherRecipe(t *testing.T) {
	const each, buffers = 2, 2 * 7 * 9 // steps; of two layers
	folder := t.TempDir()
	steps := 0
	args := func(folder string, recipe []string) []string {
		return small(join(tokens, f32Args, recipe, saving(folder, each), []string{"--training.local_batch_size=8", "--lr_scheduler.total_steps=20", fmt.Sprint("--training.steps=", steps)})...)
	}
	steps = 6 * each
	want := losses(course(t, 1, args(t.TempDir(), nil)))
	steps = 0
	for i, stage := range []struct {
		name   string
		recipe []string
		told   string // but for where
	}{
		{"float32", nil, ""},
		{"tensorwise", join(float8, gather), ""},
		{"delayed", join(float8, named("delayed"), gather[:1]), fmt.Sprintf("lacks %d of the model's buffers, of its float8 recipe: they begin as in a new run", buffers)},
		{"delayed still", join(float8, named("delayed"), gather[:1]), ""},
		{"rowwise", join(float8, named("rowwise")), fmt.Sprintf("has %d buffers of another float8 recipe: they are left out", buffers)},
		{"float32 again", nil, ""},
	} {
		if i > 0 {
			alone(t, append(args(folder, stage.recipe), "--checkpoint.load_only"), func(tr *Trainer) { isSaved(t, tr, folder, steps) })
		}
		steps += each
		records, said, err := courseOf(t, 1, args(folder, stage.recipe), nil)
		if err != nil || len(records) != each {
			t.Fatalf("%s: %d steps, %v", stage.name, len(records), err)
		}
		if told := strings.Contains(said, "buffers"); told != (stage.told != "") || !strings.Contains(said, stage.told) {
			t.Errorf("%s: said\n%s\nof buffers want %q", stage.name, said, stage.told)
		}
		for _, r := range records {
			if math.Abs(r.Loss-want[r.Step-1]) > 5e-3*want[r.Step-1] {
				t.Errorf("%s: loss %v in step %d, want %v", stage.name, r.Loss, r.Step, want[r.Step-1])
			}
		}
	}
}

// isSaved fails unless all that the optimizer moves is what the checkpoint of a step has.
func isSaved(t *testing.T, tr *Trainer, folder string, step int) {
	t.Helper()
	c, err := checkpoint.Open(filepath.Join(folder, "checkpoint", checkpoint.StepName(step)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tensors := tr.state().Tensors
	if n := len(tr.model.Params()); tr.step != step || len(tensors) < 3*n {
		t.Fatalf("after loading, step %d and %d tensors of %d parameters", tr.step, len(tensors), n)
	}
	for _, x := range tensors {
		got, want := make([]byte, x.Local.Bytes()), make([]byte, x.Local.Bytes())
		tr.model.Ctx().Stream.Download(got, x.Local)
		if err := tr.model.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := c.Read(x.Name, x.Box(), want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what step %d has", x.Name, step)
		}
	}
}
