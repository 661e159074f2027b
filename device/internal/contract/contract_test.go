// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"fmt"
	"strings"
	"testing"

	"octet/device"
	"octet/device/internal/contract"
	"octet/dtype"
	"octet/tensor"
)

type memory int

func (m memory) Len() int { return int(m) }

func of(t dtype.Type, shape ...int) *tensor.Tensor { return tensor.New(memory(1<<20), t, shape...) }

// TestWhoBreaksTheContractIsToldTheShapes, by the name of the device.
func TestWhoBreaksTheContractIsToldTheShapes(t *testing.T) {
	const must = contract.Of("abacus")
	x, y, ids := of(dtype.Float32, 4, 8), of(dtype.BFloat16, 4, 8), of(dtype.Int32, 4)
	narrow := of(dtype.Float8E4M3, 4, 8)
	scale := func(shape ...int) *tensor.Tensor { return of(dtype.Float32, shape...) }
	cast := tensor.Operand{Tensor: narrow, Scale: scale(), Inv: scale()}
	for _, tt := range []struct {
		name string
		kept func()
		want string // of the call beside, which breaks it
		call func()
	}{
		{"add", func() { must.Add(x, y, x) }, "abacus: want Add(dst, a, b) of equal numel, high precision; got float32[4 8], int32[4]", func() { must.Add(x, ids, x) }},
		{"cast", func() { must.Cast(cast, tensor.Operand{}, tensor.Operand{Tensor: x}) }, "abacus: want a cast (dst float8 of equal numel",
			func() { must.Cast(cast, tensor.Operand{}, tensor.Operand{Tensor: of(dtype.Float32, 4, 9)}) }},
		{"dynamic cast", func() { must.DynamicCast(cast, tensor.Operand{}, tensor.Operand{Tensor: y}) }, "abacus: want DynamicCast of high precision, with a scale and a reciprocal to write",
			func() {
				must.DynamicCast(tensor.Operand{Tensor: narrow}, tensor.Operand{}, tensor.Operand{Tensor: y})
			}},
		{"matmul", func() {
			must.MatMul(of(dtype.Float32, 4, 4), cast, tensor.Operand{Tensor: y}, device.MatMulOptions{TransB: true})
		}, "abacus: MatMul: float32[4 4] = op(float8_e4m3fn[4 8]) · op(bfloat16[4 8]) with TransA false, TransB false: op(a) is [4,8], op(b) [4,8]", func() {
			must.MatMul(of(dtype.Float32, 4, 4), cast, tensor.Operand{Tensor: y}, device.MatMulOptions{})
		}},
		{"a scale along what is summed", func() {}, "along the dimension that is summed: [4,8] by lanes and k", func() {
			rows := tensor.Operand{Tensor: narrow, Scale: scale(1, 8), Inv: scale(1, 8)}
			must.MatMul(of(dtype.Float32, 4, 4), rows, tensor.Operand{Tensor: y}, device.MatMulOptions{TransB: true})
		}},
		{"embedding", func() { must.Embedding(x, of(dtype.Float32, 10, 8), ids, 5, 15) }, "abacus: want Embedding(", func() { must.Embedding(x, of(dtype.Float32, 10, 8), ids, 6, 15) }},
		{"a slice of a vocabulary", func() { must.CrossEntropyStats(scale(4), scale(4), scale(4), x, ids, 2, 10) }, "abacus: a slice of 8 from 3 is outside the vocabulary of 10",
			func() { must.CrossEntropyStats(scale(4), scale(4), scale(4), x, ids, 3, 10) }},
		{"moments", func() {}, "abacus: AdamW of 1 parameters, 0 gradients, 1 and 1 moments", func() {
			one := []*tensor.Tensor{x}
			must.AdamW(one, nil, one, one, of(dtype.Int32, 1), nil)
		}},
	} {
		tt.kept()
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, tt.want) {
					t.Errorf("%s: panic %q, want %q", tt.name, text, tt.want)
				}
			}()
			tt.call()
		}()
	}
}
