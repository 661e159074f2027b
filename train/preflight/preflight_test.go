// SPDX-License-Identifier: Apache-2.0

package preflight

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
	"octet/models/llama/plan"
)

const (
	golden  = "../../testdata/golden/"
	dataset = "--training.dataset_path"
	initial = "--checkpoint.initial_load_path"
)

// goldenArgs are the flags of the golden runs on two ranks, with a dataset or
// weights from elsewhere: other is such a flag, or empty.
func goldenArgs(other string) []string {
	args := strings.Fields(`--model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192
		--model.args.vocab_size=256 --training.dataset=tokens --training.seq_len=64 --training.local_batch_size=4 --training.steps=20
		` + dataset + "=" + golden + "llama_tokens.u16 " + initial + "=" + golden + "llama_init.safetensors")
	if other != "" {
		name, _, _ := strings.Cut(other, "=")
		at := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, name+"=") })
		args[at] = other
	}
	return args
}

// checked is what Check says of args on two ranks.
func checked(t *testing.T, args []string) error {
	t.Helper()
	cfg, err := config.Load(args)
	if err != nil {
		return err
	}
	run, err := Check(cfg, 2, 2, 64<<30)
	if (run == nil) != (err != nil) {
		t.Errorf("run %v and error %v", run, err)
	}
	return err
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

// TestBadWeightsAreNamed before any rank starts.
func TestBadWeightsAreNamed(t *testing.T) {
	set, err := safetensors.Open(golden + "llama_init.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
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
			err := checked(t, goldenArgs(initial+"="+path))
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
	for _, tt := range []struct {
		name string
		flag string // takes the place of the golden run's
		want []string
	}{
		{"truncated weights", path(initial, "cut.safetensors", weights[:len(weights)-4]), []string{"checkpoint.initial_load_path", "cut.safetensors"}},
		{"truncated header", path(initial, "head.safetensors", weights[:100]), []string{"checkpoint.initial_load_path", "head.safetensors"}},
		{"empty weights", path(initial, "empty.safetensors", nil), []string{"checkpoint.initial_load_path", "empty.safetensors"}},
		{"no weights", initial + "=/nowhere/w.safetensors", []string{"checkpoint.initial_load_path = \"/nowhere/w.safetensors\"", "no such file"}},
		{"no dataset", dataset + "=/nowhere/t.u16", []string{"training.dataset_path = \"/nowhere/t.u16\"", "no such file"}},
		{"dataset shorter than a window", path(dataset, "tiny.u16", ids(64, 1)), []string{"training.dataset_path", "tiny.u16", "64 tokens", "training.seq_len = 64"}},
		{"half an id", path(dataset, "odd.u16", ids(20000, 1)[1:]), []string{"odd.u16", "39999 bytes"}},
		{"not ids", path(dataset, "text.txt", ids(20000, 1)), []string{"training.dataset_path", ".u16"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checked(t, goldenArgs(tt.flag))
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwithout %s", err, want)
				}
			}
		})
	}
	if err := checked(t, goldenArgs("")); err != nil {
		t.Errorf("the golden run itself: %v", err)
	}
}

// TestTheValidationDataIsCheckedToo, where it is asked for.
func TestTheValidationDataIsCheckedToo(t *testing.T) {
	args := append(goldenArgs(""), "--validation.dataset=tokens", "--validation.dataset_path="+writeFile(t, "tiny.u16", make([]byte, 64)))
	if err := checked(t, args); err != nil {
		t.Error(err)
	}
	err := checked(t, append(args, "--validation.enable"))
	if err == nil || !strings.Contains(err.Error(), "tiny.u16 holds 32 tokens, too few for one window of validation.seq_len = 2048") {
		t.Errorf("error %v, want one about the validation data", err)
	}
}

// TestWeightsThatDifferAreNotTied: which of the two would be right?
func TestWeightsThatDifferAreNotTied(t *testing.T) {
	args := func(file string, more ...string) []string {
		return append(strings.Fields(`--model.args.dim=16 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=32
			--model.args.vocab_size=256 --training.seq_len=16 --training.local_batch_size=1 --training.dataset=tokens
			`+dataset+"="+golden+"llama_tokens.u16 "+initial+"=../../testdata/weights/"+file), more...)
	}
	err := checked(t, args("more.safetensors", "--model.args.enable_weight_tying"))
	if want := "tok_embeddings.weight and output.weight differ, but the model has one weight for both: set model.args.enable_weight_tying = false"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	err = checked(t, args("tied_output.safetensors"))
	if want := "tok_embeddings.weight [256 16] is missing"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestAModelThatDoesNotFitIsRefused with the numbers that say why.
func TestAModelThatDoesNotFitIsRefused(t *testing.T) {
	cfg, err := config.Load([]string{"--model.flavor=8B", "--training.local_batch_size=1"})
	if err != nil {
		t.Fatal(err)
	}
	run, err := plan.Resolve(cfg, config.AnyWorld)
	if err != nil {
		t.Fatal(err)
	}
	const gib = 1 << 30
	for _, tt := range []struct {
		world, local int
		memory       int64
		want         []string // empty: it fits
	}{
		{1, 1, 64 * gib, []string{`model.flavor = "8B"`, "64.0 GiB of memory are free", "may need 130.7 GiB", "8030261248 parameters × 16 bytes / 1 ranks", "119.7 GiB for weights", "1.4 GiB for what units gather and reduce", "9.1 GiB for activations", `or activation_checkpoint.mode = "full"`}},
		{2, 2, 128 * gib, []string{"on each of 2 ranks", "59.8 GiB"}},
		{2, 1, 124 * gib, nil},
		{2, 2, 160 * gib, nil},
		{1, 1, 0, nil}, // not known
	} {
		err := CheckWorld(run, tt.world, tt.local, tt.memory)
		if (err != nil) != (tt.want != nil) {
			t.Errorf("%d ranks, %d here, %d bytes: error %v", tt.world, tt.local, tt.memory, err)
		}
		for _, want := range tt.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("error %v\nwithout %s", err, want)
			}
		}
	}
	cfg.ActivationCheckpoint.Mode = "full"
	if run, err = plan.Resolve(cfg, config.AnyWorld); err != nil {
		t.Fatal(err)
	}
	if err := CheckWorld(run, 1, 1, 64*gib); err == nil || strings.Contains(err.Error(), "activation_checkpoint") || !strings.Contains(err.Error(), "1.0 GiB for activations") {
		t.Errorf("recomputed: error %v, want one without the advice to recompute", err)
	}
	if _, err := Check(cfg, 1, 1, 64*gib); err == nil || !strings.Contains(err.Error(), "64.0 GiB of memory") {
		t.Errorf("Check: error %v, want one about the memory", err)
	}
}

// TestADumpFolderThatCannotBeMadeIsRefused before a rank starts.
func TestADumpFolderThatCannotBeMadeIsRefused(t *testing.T) {
	file := writeFile(t, "file", nil)
	err := checked(t, append(goldenArgs(""), "--job.dump_folder="+file+"/out"))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("job.dump_folder = %q: ", file+"/out")) {
		t.Errorf("error %v, want one about job.dump_folder", err)
	}
	folder := filepath.Join(t.TempDir(), "a", "b")
	if err := checked(t, append(goldenArgs(""), "--job.dump_folder="+folder)); err != nil {
		t.Errorf("a folder still to be made: %v", err)
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("Check has made the folder")
	}
}

// TestScanSaysHowFarItIs: of each section's data, here at once and not after some
// seconds.
func TestScanSaysHowFarItIs(t *testing.T) {
	cfg, err := config.Load(append(goldenArgs(""), "--validation.enable", "--validation.dataset=tokens", "--validation.dataset_path="+golden+"llama_tokens.u16"))
	if err != nil {
		t.Fatal(err)
	}
	run, err := plan.Resolve(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	said := func(interval time.Duration) string {
		var said []string
		if err := scan(run, interval, func(text string) { said = append(said, text) }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(slices.Compact(said), "; ")
	}
	const training, validation = "training.dataset_path: 0.0 GiB of 0.0 GiB checked", "validation.dataset_path: 0.0 GiB of 0.0 GiB checked"
	if got, want := said(0), training+"; "+validation; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if got := said(time.Hour); got != "" {
		t.Errorf("said %q before an hour had passed", got)
	}
}
