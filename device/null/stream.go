// SPDX-License-Identifier: Apache-2.0

package null

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// stream is a device.Stream that forgets what it is given.
type stream struct{ opts Options }

var _ device.Stream = stream{}

func (stream) Upload(*tensor.Tensor, []byte)   {}
func (stream) Download([]byte, *tensor.Tensor) {}
func (stream) Record() device.Event            { return event{} }
func (stream) Wait(device.Event)               {}
func (stream) Sync() error                     { return nil }

func (s stream) Float8TN() bool { return s.opts.Float8TN }

func (stream) Zero(*tensor.Tensor)                                                           {}
func (stream) Copy(*tensor.Tensor, *tensor.Tensor)                                           {}
func (stream) Add(*tensor.Tensor, *tensor.Tensor, *tensor.Tensor)                            {}
func (stream) Amax(*tensor.Tensor, []*tensor.Tensor)                                         {}
func (stream) Scales(_, _, _ *tensor.Tensor, _ []dtype.Type, _ bool)                         {}
func (stream) Cast(tensor.Operand, tensor.Operand, tensor.Operand)                           {}
func (stream) DynamicCast(_, _, _ tensor.Operand, _ bool)                                    {}
func (stream) RecordCast(_, _, _, _ tensor.Operand, _ *tensor.Tensor)                        {}
func (stream) SyncHistories(device.AmaxHistories)                                            {}
func (stream) CastStats(_, _ *tensor.Tensor, _, _ tensor.Operand)                            {}
func (stream) Transpose(*tensor.Tensor, *tensor.Tensor)                                      {}
func (stream) MatMul(_ *tensor.Tensor, _, _ tensor.Operand, _ device.MatMulOptions)          {}
func (stream) AddBias(*tensor.Tensor, *tensor.Tensor)                                        {}
func (stream) BiasGrad(*tensor.Tensor, *tensor.Tensor)                                       {}
func (stream) Embedding(_, _, _ *tensor.Tensor, _, _ int)                                    {}
func (stream) EmbeddingGrad(_, _, _ *tensor.Tensor, _, _ int)                                {}
func (stream) RMSNorm(_, _, _, _, _, _ *tensor.Tensor, _ float32, _ *tensor.Tensor)          {}
func (stream) RMSNormGrad(_, _, _, _, _, _, _, _ *tensor.Tensor)                             {}
func (stream) LayerNorm(_, _, _, _, _, _ *tensor.Tensor, _ float32)                          {}
func (stream) LayerNormGrad(_, _, _, _, _, _, _, _ *tensor.Tensor)                           {}
func (stream) RoPE(_, _, _ *tensor.Tensor, _ bool, _ *tensor.Tensor)                         {}
func (stream) Attention(_, _, _, _, _, _, _, _ *tensor.Tensor)                               {}
func (stream) AttentionGrad(_, _, _, _, _, _, _, _, _, _, _, _ *tensor.Tensor)               {}
func (stream) SwiGLU(_, _, _, _ *tensor.Tensor)                                              {}
func (stream) SwiGLUGrad(_, _, _, _, _, _, _ *tensor.Tensor)                                 {}
func (stream) Activate(*tensor.Tensor, *tensor.Tensor, device.Activation)                    {}
func (stream) ActivateGrad(_, _, _ *tensor.Tensor, _ device.Activation)                      {}
func (stream) CrossEntropy(_, _, _, _ *tensor.Tensor)                                        {}
func (stream) CrossEntropyStats(_, _, _, _, _ *tensor.Tensor, _, _ int)                      {}
func (stream) RescaleSum(*tensor.Tensor, *tensor.Tensor, *tensor.Tensor)                     {}
func (stream) CrossEntropyGrad(_, _, _, _, _, _ *tensor.Tensor, _ int, _ *tensor.Tensor)     {}
func (stream) SquaredError(_, _, _, _ *tensor.Tensor)                                        {}
func (stream) Reciprocal(*tensor.Tensor, *tensor.Tensor)                                     {}
func (stream) SumSquares(*tensor.Tensor, []*tensor.Tensor)                                   {}
func (stream) ClipCoef(_, _, _ *tensor.Tensor, _ float32)                                    {}
func (stream) AdamW(_, _, _, _ []*tensor.Tensor, _, _ *tensor.Tensor, _ device.AdamWOptions) {}
