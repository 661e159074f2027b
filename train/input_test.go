// SPDX-License-Identifier: Apache-2.0

package train

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint/safetensors"
	"octet/dtype"
)

// TestWeightsLoadAsTheyAre: float32 bit for bit, bfloat16 widened, from one file
// or a folder of several, each rank its own rows.
func TestWeightsLoadAsTheyAre(t *testing.T) {
	set := openGolden(t, "llama_init.safetensors")
	folder := t.TempDir()
	want := map[string][]float32{}
	for i, name := range set.Names() {
		info, raw, err := set.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, len(raw)/4)
		if err := safetensors.DecodeFloat32(x, info.DType, raw); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			info.DType, raw = safetensors.BF16, nil
			for k, v := range x {
				b := dtype.ToBF16(v)
				x[k], raw = b.Float32(), binary.LittleEndian.AppendUint16(raw, uint16(b))
			}
		}
		want[name] = x
		path := filepath.Join(folder, fmt.Sprintf("%02d.safetensors", i))
		if err := safetensors.Write(path, nil, []safetensors.Tensor{{Name: name, DType: info.DType, Shape: info.Shape, Data: raw}}); err != nil {
			t.Fatal(err)
		}
	}
	args := goldenArgs("1")
	for i, a := range args {
		if strings.HasPrefix(a, "--checkpoint.initial_load_path=") {
			args[i] = "--checkpoint.initial_load_path=" + folder
		}
	}
	for rank, err := range onRanks(t, 3, args, func(rank int, tr *Trainer) error {
		for _, p := range tr.model.Params() {
			got, err := read(tr, p.Local())
			if err != nil {
				return err
			}
			first := p.Box().Lo[0] * p.Numel() / p.Shape[0]
			if !slices.Equal(got, want[p.Name][first:first+len(got)]) {
				t.Errorf("rank %d has other rows of %s than the file", rank, p.Name)
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// writeFile makes a file and returns its path.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestABadIDStopsAllRanks: a file may change after Scan.
func TestABadIDStopsAllRanks(t *testing.T) {
	var raw []byte
	for i := range 100 {
		id := uint16(i)
		if i == 70 { // rank 1's, in step 2
			id = 256
		}
		raw = binary.LittleEndian.AppendUint16(raw, id)
	}
	args := small("--training.dataset=tokens", "--training.dataset_path="+writeFile(t, "bad.u16", raw), "--training.local_batch_size=1", "--training.steps=3")
	for rank, err := range onRanks(t, 2, args, func(_ int, tr *Trainer) error {
		for range 3 {
			if _, err := tr.Step(); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err == nil || !strings.Contains(err.Error(), "bad.u16: id 256 at position 70 is outside the vocabulary of 256 (model.args.vocab_size)") {
			t.Errorf("rank %d: error %v, want one that names the file, the id and where it is", rank, err)
		}
	}
}
