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
	"time"

	"octet/checkpoint/safetensors"
	"octet/config"
	"octet/dtype"
)

// checked is what Check says of args on two ranks.
func checked(t *testing.T, args []string) error {
	t.Helper()
	cfg, err := config.Load(args)
	if err != nil {
		return err
	}
	return Check(cfg, 2, 2, 64<<30)
}

// TestBadWeightsAreNamed before any rank starts.
func TestBadWeightsAreNamed(t *testing.T) {
	set := openGolden(t, "llama_init.safetensors")
	tensors := func() (all []safetensors.Tensor) {
		for _, name := range set.Names() {
			info, raw, err := set.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: raw})
		}
		return all
	}
	at := func(all []safetensors.Tensor, name string) int {
		return slices.IndexFunc(all, func(x safetensors.Tensor) bool { return x.Name == name })
	}
	for _, tt := range []struct {
		name   string
		change func([]safetensors.Tensor) []safetensors.Tensor
		want   []string // empty: no error
	}{
		{"all there", func(all []safetensors.Tensor) []safetensors.Tensor { return all }, nil},
		{"a rotary table is not a parameter", func(all []safetensors.Tensor) []safetensors.Tensor {
			return append(all, safetensors.Tensor{Name: "freqs_cis", DType: safetensors.F32, Shape: []int{1}, Data: make([]byte, 4)})
		}, nil},
		{"missing", func(all []safetensors.Tensor) []safetensors.Tensor {
			all = slices.Delete(all, at(all, "norm.weight"), at(all, "norm.weight")+1)
			return slices.Delete(all, at(all, "layers.1.attention.wk.weight"), at(all, "layers.1.attention.wk.weight")+1)
		}, []string{"layers.1.attention.wk.weight [32 64] is missing", "norm.weight [64] is missing"}},
		{"by another name", func(all []safetensors.Tensor) []safetensors.Tensor {
			all[at(all, "norm.weight")].Name = "model.norm.weight"
			return all
		}, []string{"norm.weight [64] is missing", "model.norm.weight is not a parameter of the model"}},
		{"misshaped", func(all []safetensors.Tensor) []safetensors.Tensor {
			all[at(all, "output.weight")].Shape = []int{64, 256}
			return all
		}, []string{"output.weight has shape [64 256], the model wants [256 64]"}},
		{"integers", func(all []safetensors.Tensor) []safetensors.Tensor {
			all[at(all, "output.weight")].DType = safetensors.I32
			return all
		}, []string{"output.weight", "I32"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weights.safetensors")
			if err := safetensors.Write(path, nil, tt.change(tensors())); err != nil {
				t.Fatal(err)
			}
			args := slices.Clone(goldenArgs("4"))
			for i, a := range args {
				if strings.HasPrefix(a, "--checkpoint.initial_load_path=") {
					args[i] = "--checkpoint.initial_load_path=" + path
				}
			}
			err := checked(t, args)
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			for _, want := range append(tt.want, "checkpoint.initial_load_path = "+path) {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwithout %s", err, want)
				}
			}
		})
	}
}

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
		for _, p := range tr.Params() {
			got, err := read(tr, p.Local())
			if err != nil {
				return err
			}
			first := p.RowOffset * p.Numel() / p.Shape[0]
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

func TestBadFilesAreNamed(t *testing.T) {
	weights, err := os.ReadFile(golden + "llama_init.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	ids := func(n int, id uint16) (raw []byte) {
		for range n {
			raw = binary.LittleEndian.AppendUint16(raw, id)
		}
		return raw
	}
	path := func(flag, name string, content []byte) string { return flag + "=" + writeFile(t, name, content) }
	const load, data = "--checkpoint.initial_load_path", "--training.dataset_path"
	for _, tt := range []struct {
		name string
		flag string // takes the place of the golden run's
		want []string
	}{
		{"truncated weights", path(load, "cut.safetensors", weights[:len(weights)-4]), []string{"checkpoint.initial_load_path", "cut.safetensors"}},
		{"truncated header", path(load, "head.safetensors", weights[:100]), []string{"checkpoint.initial_load_path", "head.safetensors"}},
		{"empty weights", path(load, "empty.safetensors", nil), []string{"checkpoint.initial_load_path", "empty.safetensors"}},
		{"no weights", load + "=/nowhere/w.safetensors", []string{"checkpoint.initial_load_path = \"/nowhere/w.safetensors\"", "no such file"}},
		{"no dataset", data + "=/nowhere/t.u16", []string{"training.dataset_path = \"/nowhere/t.u16\"", "no such file"}},
		{"dataset shorter than a window", path(data, "tiny.u16", ids(64, 1)), []string{"training.dataset_path", "tiny.u16", "64 tokens", "training.seq_len = 64"}},
		{"half an id", path(data, "odd.u16", ids(20000, 1)[1:]), []string{"odd.u16", "39999 bytes"}},
		{"not ids", path(data, "text.txt", ids(20000, 1)), []string{"training.dataset_path", ".u16"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := goldenArgs("4")
			for i, a := range args {
				if name, _, _ := strings.Cut(tt.flag, "="); strings.HasPrefix(a, name+"=") {
					args[i] = tt.flag
				}
			}
			err := checked(t, args)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwithout %s", err, want)
				}
			}
		})
	}
	if err := checked(t, goldenArgs("4")); err != nil {
		t.Errorf("the golden run itself: %v", err)
	}
}

// TestAModelThatDoesNotFitIsRefused with the numbers that say why.
func TestAModelThatDoesNotFitIsRefused(t *testing.T) {
	cfg, err := config.Load([]string{"--model.flavor=8B", "--training.local_batch_size=1"})
	if err != nil {
		t.Fatal(err)
	}
	const gib = 1 << 30
	for _, tt := range []struct {
		world, local int
		memory       int64
		want         []string // empty: it fits
	}{
		{1, 1, 64 * gib, []string{`model.flavor = "8B"`, "64.0 GiB of memory are free", "may need 137.9 GiB", "8030261248 parameters × 16 bytes / 1 ranks", "119.7 GiB for weights", "GiB for two gathered units", "GiB for activations", "0.5 GiB for logits"}},
		{2, 2, 128 * gib, []string{"on each of 2 ranks", "59.8 GiB"}},
		{2, 1, 124 * gib, nil},
		{2, 2, 160 * gib, nil},
		{1, 1, 0, nil}, // not known
	} {
		err := checkMemory(cfg, tt.world, tt.local, tt.memory)
		if (err != nil) != (tt.want != nil) {
			t.Errorf("%d ranks, %d here, %d bytes: error %v", tt.world, tt.local, tt.memory, err)
		}
		for _, want := range tt.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("error %v\nwithout %s", err, want)
			}
		}
	}
	if err := Check(cfg, 1, 1, 64*gib); err == nil || !strings.Contains(err.Error(), "64.0 GiB of memory") {
		t.Errorf("Check: error %v, want one about the memory", err)
	}
}

// TestADumpFolderThatCannotBeMadeIsRefused before a rank starts.
func TestADumpFolderThatCannotBeMadeIsRefused(t *testing.T) {
	file := writeFile(t, "file", nil)
	err := checked(t, small("--job.dump_folder="+file+"/out"))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("job.dump_folder = %q: ", file+"/out")) {
		t.Errorf("error %v, want one about job.dump_folder", err)
	}
	folder := filepath.Join(t.TempDir(), "a", "b")
	if err := checked(t, small("--job.dump_folder="+folder)); err != nil {
		t.Errorf("a folder still to be made: %v", err)
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("Check has made the folder")
	}
}

// TestScanSaysHowFarItIs, here at once and not after some seconds.
func TestScanSaysHowFarItIs(t *testing.T) {
	said := 0
	say := every(0, func(int64, int64) { said++ })
	say(1, 2)
	say(2, 2)
	if every(time.Hour, func(int64, int64) { said += 100 })(1, 2); said != 2 {
		t.Errorf("said %d times, want 2", said)
	}
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
