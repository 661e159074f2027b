// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"math"
	"testing"

	"octet/dtype"
	"octet/models/llama/hf"
	"octet/models/llama/inference"
	"octet/test/ranks"
)

// TestASimulatedGPUGeneratesAsTheCPU: the same tokens as likely, from a prompt that is read at once and a cache that grows by one.
func TestASimulatedGPUGeneratesAsTheCPU(t *testing.T) {
	t.Setenv(ranks.DeviceVar, "")
	want := generated(t)
	t.Setenv(ranks.DeviceVar, ranks.Sim)
	got := generated(t)
	if len(want) != 6 || len(got) != len(want) {
		t.Fatalf("%d tokens, %d on the CPU, want 6", len(got), len(want))
	}
	for i, w := range want {
		if off := math.Abs(got[i].LogProb - w.LogProb); got[i].ID != w.ID || !(off <= 1e-4) {
			t.Errorf("token %d is %+v, on the CPU %+v", i, got[i], w)
		}
	}
}

// generated is six tokens of a model of transformers'.
func generated(t *testing.T) (tokens []inference.Token) {
	t.Helper()
	const folder = "../../testdata/hf/llama3"
	config, err := hf.ReadConfig(folder)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := hf.Open(folder, config.Args)
	if err != nil {
		t.Fatal(err)
	}
	m, err := inference.Open(ranks.Device(t, ranks.Options{}), config.Args, weights, inference.Options{Name: folder, MaxSeq: 16, Act: dtype.Float32})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Generate(inference.Request{Prompt: []int32{5, 17, 20, 3}, MaxNew: 6}, func(token inference.Token) bool {
		tokens = append(tokens, token)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}
