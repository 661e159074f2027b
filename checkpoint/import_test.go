// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/nn"
)

// TestWeightsOfFilesBecomeACheckpoint: of any type, whole, in float32, in parts; and never over one that is there.
func TestWeightsOfFilesBecomeACheckpoint(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w.safetensors")
	wide := make([]float32, 3000*700) // in more than one part
	for i := range wide {
		wide[i] = float32(i%251) - 7
	}
	raw := make([]byte, 2*len(wide))
	if err := safetensors.EncodeFloat32(raw, safetensors.BF16, wide); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.Write(path, nil, []safetensors.Tensor{
		{Name: "a.weight", DType: safetensors.BF16, Shape: []int{3000, 700}, Data: raw},
		{Name: "b.weight", DType: safetensors.F32, Shape: []int{3}, Data: []byte("twelve bytes")},
	}); err != nil {
		t.Fatal(err)
	}
	a, b := nn.NewParam(nn.Init{}, 3000, 700), nn.NewParam(nn.Init{}, 3)
	a.Name, b.Name = "a.weight", "b.weight"
	open := func() *checkpoint.Weights {
		from, err := checkpoint.OpenSource(path)
		if err != nil {
			t.Fatal(err)
		}
		w, err := checkpoint.NewWeights(path, from, []*nn.Param{a, b}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		return w
	}
	folder, told := filepath.Join(dir, "checkpoint"), 0
	at, err := open().Save(folder, checkpoint.Run{Step: 3, Model: []byte(`{}`)}, func(n int) { told += n })
	if err != nil || at != filepath.Join(folder, "step-3") || told != 4*(len(wide)+3) {
		t.Fatalf("%s, %d bytes told, %v", at, told, err)
	}
	c, err := checkpoint.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.Index.ModelOnly || len(c.Index.Tensors["a.weight"].Parts) < 2 {
		t.Errorf("model only %v, %d parts", c.Index.ModelOnly, len(c.Index.Tensors["a.weight"].Parts))
	}
	got, want := make([]byte, 4*len(wide)), make([]byte, 4*len(wide))
	if err := safetensors.EncodeFloat32(want, safetensors.F32, wide); err != nil {
		t.Fatal(err)
	}
	if err := c.Read("a.weight", dtensor.Whole([]int{3000, 700}), got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the values differ (%v)", err)
	}
	if err := c.Read("b.weight", dtensor.Whole([]int{3}), got[:12]); err != nil || string(got[:12]) != "twelve bytes" {
		t.Errorf("%q (%v)", got[:12], err)
	}
	if _, err := open().Save(folder, checkpoint.Run{Step: 3, Model: []byte(`{}`)}, func(int) {}); err == nil || !strings.Contains(err.Error(), "step-3 is there already") {
		t.Errorf("error %v, want one that it is there", err)
	}
	if list, err := os.ReadDir(folder); err != nil || len(list) != 1 {
		t.Errorf("%v (%v), want one checkpoint", list, err)
	}
}
