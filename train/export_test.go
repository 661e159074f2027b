// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/models/llama/hf"
)

// TestTheLastWeightsAreForTransformersToo: those that the last checkpoint has, of all ranks, in export_dtype; and a run that cannot write them says so.
func TestTheLastWeightsAreForTransformersToo(t *testing.T) {
	folder := t.TempDir()
	args := func(more ...string) []string {
		return small(join(tokens, saving(folder, 2), []string{"--training.steps=3", "--training.local_batch_size=1", "--checkpoint.last_save_in_hf"}, more)...)
	}
	course(t, 2, args("--checkpoint.last_save_model_only", "--checkpoint.export_dtype=bfloat16"))
	at := filepath.Join(folder, "checkpoint", "step-3")
	config, err := hf.ReadConfig(at + "-hf")
	if err != nil {
		t.Fatal(err)
	}
	exported, err := hf.Open(at+"-hf", config.Args)
	if err != nil {
		t.Fatal(err)
	}
	defer exported.Close()
	saved, err := checkpoint.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	if config.DType != safetensors.BF16 || len(exported.Names()) != len(saved.Names()) {
		t.Errorf("%s, %d tensors, want BF16 and %d", config.DType, len(exported.Names()), len(saved.Names()))
	}
	for _, name := range exported.Names() {
		if a, b := bytesOf(t, exported, name), bytesOf(t, saved, name); len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s differs from the checkpoint's", name)
		}
	}
	whole, err := checkpoint.Whole(filepath.Join(folder, "checkpoint"))
	if err != nil || len(whole) != 2 {
		t.Errorf("%v (%v), want the checkpoints of steps 2 and 3", whole, err)
	}

	if _, said, err := courseOf(t, 2, args("--checkpoint.load_step=2", "--checkpoint.last_save_model_only=false"), nil); err == nil ||
		!strings.Contains(err.Error(), "checkpoint.last_save_in_hf: hf: export to "+at+"-hf: it is there already") {
		t.Errorf("error %v, want one that the folder is there\n%s", err, said)
	}
}

// bytesOf is a tensor whole.
func bytesOf(t *testing.T, s checkpoint.Source, name string) []byte {
	t.Helper()
	kind, shape, _ := s.Lookup(name)
	box := dtensor.Whole(shape)
	raw := make([]byte, box.Numel()*kind.Size())
	if err := s.Read(name, box, raw); err != nil {
		t.Fatal(err)
	}
	return raw
}
