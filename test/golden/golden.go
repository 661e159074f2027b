// SPDX-License-Identifier: Apache-2.0

// Package golden reads the tensors that PyTorch made, which testdata/golden has, for
// the tests of any package:
//
//	set := golden.Open(t, "casts.safetensors")
//	want := set.Bytes(t, "bf16.e4m3fn")
package golden

import (
	"os"
	"path/filepath"
	"testing"

	"octet/checkpoint/safetensors"
)

// Set is the tensors of a file.
type Set struct{ file *safetensors.Set }

// Open opens a file of testdata/golden until the test ends.
func Open(t testing.TB, name string) Set {
	t.Helper()
	root := "."
	for range 10 {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		root = filepath.Join("..", root)
	}
	file, err := safetensors.Open(filepath.Join(root, "testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return Set{file}
}

// Bytes is the data of a tensor.
func (s Set) Bytes(t testing.TB, tensor string) []byte {
	t.Helper()
	_, raw := s.tensor(t, tensor)
	return raw
}

// Floats is a tensor, widened to float32.
func (s Set) Floats(t testing.TB, tensor string) []float32 {
	t.Helper()
	info, raw := s.tensor(t, tensor)
	x := make([]float32, len(raw)/info.DType.Size())
	if err := safetensors.DecodeFloat32(x, info.DType, raw); err != nil {
		t.Fatal(err)
	}
	return x
}

func (s Set) tensor(t testing.TB, name string) (safetensors.Info, []byte) {
	t.Helper()
	info, raw, err := s.file.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return info, raw
}
