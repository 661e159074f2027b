// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"fmt"
	"strings"

	"octet/models/llama"
)

// layerNames are octet's names within a layer, in transformers' order, and transformers' for the same.
var layerNames = [...][2]string{
	{"attention_norm", "input_layernorm"},
	{"attention.wq", "self_attn.q_proj"},
	{"attention.wk", "self_attn.k_proj"},
	{"attention.wv", "self_attn.v_proj"},
	{"attention.wo", "self_attn.o_proj"},
	{"ffn_norm", "post_attention_layernorm"},
	{"feed_forward.w1", "mlp.gate_proj"},
	{"feed_forward.w3", "mlp.up_proj"},
	{"feed_forward.w2", "mlp.down_proj"},
}

// tensor is one tensor of a model, as both sides have it.
type tensor struct {
	octet, hf string
	shape     []int
	head      int // rows of a head whose rotary pairs are halves in transformers; 0: rows are the same
}

// tensors are those of a model, in transformers' order. One of tied weights is there once, as the embedding.
func tensors(a llama.Args) []tensor {
	q, kv, d, hidden := a.QDim(), a.KVDim(), a.Dim, a.Hidden()
	shapes := map[string][]int{
		"attention_norm": {d}, "ffn_norm": {d},
		"attention.wq": {q, d}, "attention.wk": {kv, d}, "attention.wv": {kv, d}, "attention.wo": {d, q},
		"feed_forward.w1": {hidden, d}, "feed_forward.w3": {hidden, d}, "feed_forward.w2": {d, hidden},
	}
	all := []tensor{{"tok_embeddings.weight", "model.embed_tokens.weight", []int{a.Vocab, d}, 0}}
	for i := range a.Layers {
		for _, n := range layerNames {
			t := tensor{fmt.Sprintf("layers.%d.%s.weight", i, n[0]), fmt.Sprintf("model.layers.%d.%s.weight", i, n[1]), shapes[n[0]], 0}
			if strings.HasSuffix(n[0], "wq") || strings.HasSuffix(n[0], "wk") {
				t.head = a.HeadDim()
			}
			all = append(all, t)
		}
	}
	all = append(all, tensor{"norm.weight", "model.norm.weight", []int{d}, 0})
	if !a.Tied {
		all = append(all, tensor{"output.weight", "lm_head.weight", []int{a.Vocab, d}, 0})
	}
	return all
}

// hfRow is the row of transformers' tensor that row i of octet's is; t.head is not 0.
func (t tensor) hfRow(i int) int {
	in := i % t.head
	return i - in + in%2*(t.head/2) + in/2
}
