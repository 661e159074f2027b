// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/models/llama/hf"
	"octet/test/ranks"
)

const oddWeights = "../testdata/weights/"

// oddArgs is a run of the model that the files of oddWeights are of.
func oddArgs(path string, more ...string) []string {
	return join(strings.Fields(`--model.args.dim=16 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=32
		--model.args.vocab_size=256 --training.seq_len=16 --training.local_batch_size=1 --training.steps=1 --checkpoint.initial_load_path=`+path), tokens, more)
}

// TestOddButValidWeightsLoad, each file that the reference writer made, with the
// values it has, on two ranks.
func TestOddButValidWeightsLoad(t *testing.T) {
	paths, err := filepath.Glob(oddWeights + "*.safetensors")
	if err != nil || len(paths) < 7 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			set, err := safetensors.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			var tied []string
			if strings.HasPrefix(filepath.Base(path), "tied_") {
				tied = []string{"--model.args.enable_weight_tying"}
			}
			args := oddArgs(path, tied...)
			for rank, err := range onRanks(t, 2, args, func(_ int, tr *Trainer) error {
				for _, p := range tr.model.Params() {
					name := p.Name
					if _, ok := set.Info(name); !ok {
						name = "output.weight"
					}
					info, raw, err := set.Tensor(name)
					if err != nil {
						return err
					}
					want := make([]float32, p.Numel())
					if err := safetensors.DecodeFloat32(want, info.DType, raw); err != nil {
						return err
					}
					got, err := read(tr, p.Local())
					if err != nil {
						return err
					}
					first := p.Box().Lo[0] * p.RowSize()
					if !slices.Equal(got, want[first:first+len(got)]) || slices.Max(want) == slices.Min(want) {
						t.Errorf("%s has other values than the file", p.Name)
					}
				}
				return nil
			}) {
				if err != nil {
					t.Errorf("rank %d: %v", rank, err)
				}
			}
		})
	}
}

// TestWhatTheModelDoesNotHaveIsTold once, by name.
func TestWhatTheModelDoesNotHaveIsTold(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	r := ranks.Open(t, 1, ranks.Options{})[0]
	run := resolved(t, 1, oddArgs(oddWeights+"more.safetensors"))
	tr, err := New(Job{Run: run, Device: r.Device, World: r.World, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	var said bytes.Buffer
	for _, e := range logs.All() {
		said.WriteString(e.Message + "\n")
	}
	if want := "more.safetensors: not of the model, so left out: eight, empty, four, ids, mask, scalar, ünïcode ♥\n"; !strings.HasSuffix(said.String(), want) || logs.Len() != 1 {
		t.Errorf("said %q, want %q", &said, want)
	}
}

// TestWeightsOfHuggingFaceLoad: of every kind that transformers makes, in whatever files, each rank its part, with the sizes of config.json.
func TestWeightsOfHuggingFaceLoad(t *testing.T) {
	for _, name := range []string{"llama3", "tied", "half"} {
		folder := filepath.Join("..", "testdata", "hf", name)
		config, err := hf.ReadConfig(folder)
		if err != nil {
			t.Fatal(err)
		}
		w, err := hf.Open(folder, config.Args)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		args := join(strings.Fields(`--model.flavor=hf --checkpoint.initial_load_in_hf --training.seq_len=16 --training.local_batch_size=1 --training.steps=1
			--training.mixed_precision_param=float32 --model.hf_assets_path=`+folder), ids(t, 60))
		for rank, err := range onRanks(t, 3, args, func(_ int, tr *Trainer) error {
			for _, p := range tr.model.Params() {
				got, err := tr.model.FullTensor(p)
				if err != nil {
					return err
				}
				kind, shape, _ := w.Lookup(p.Name)
				box := dtensor.Whole(shape)
				raw, want := make([]byte, box.Numel()*kind.Size()), make([]float32, box.Numel())
				if err := w.Read(p.Name, box, raw); err != nil {
					return err
				}
				if err := safetensors.DecodeFloat32(want, kind, raw); err != nil {
					return err
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: %s has other values than the folder", name, p.Name)
				}
			}
			_, err := tr.Step()
			return err
		}) {
			if err != nil {
				t.Errorf("%s: rank %d: %v", name, rank, err)
			}
		}
	}
}

// ids are flags of a file of token ids below a vocabulary.
func ids(t *testing.T, vocab int) []string {
	t.Helper()
	var file []byte
	for i := range 400 {
		file = binary.LittleEndian.AppendUint16(file, uint16(i*i%vocab))
	}
	path := filepath.Join(t.TempDir(), "ids.u16")
	if err := os.WriteFile(path, file, 0o666); err != nil {
		t.Fatal(err)
	}
	return []string{"--training.dataset=tokens", "--training.dataset_path=" + path}
}
