// SPDX-License-Identifier: Apache-2.0

package metrics

// ModelSize is what the cost of a token depends on.
type ModelSize struct {
	Params, EmbeddingParams, Layers, Heads, HeadDim, SeqLen int
}

// FLOPsPerToken is the work of forward and backward for one token, as torchtitan (and PaLM, arXiv:2204.02311, appendix
// B) count it: 6 operations per parameter of a matmul, and for attention 6 · layers · heads · 2·head_dim · seq_len,
// with no discount for causality.
func FLOPsPerToken(m ModelSize) float64 {
	return 6*float64(m.Params-m.EmbeddingParams) + 6*float64(m.Layers)*float64(m.Heads)*2*float64(m.HeadDim)*float64(m.SeqLen)
}
