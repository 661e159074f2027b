// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

import (
	"unsafe"

	"octet/device/cuda/api"
	"octet/dtype"
)

// types are the library's numbers of octet's element types.
var types = map[dtype.Type]int{
	dtype.Float32: api.CUDA_R_32F, dtype.BFloat16: api.CUDA_R_16BF,
	dtype.Float8E4M3: api.CUDA_R_8F_E4M3, dtype.Float8E5M2: api.CUDA_R_8F_E5M2,
}

// attribute is one of a product's descriptor. The library refuses a value of another size
// than it has it.
type attribute struct {
	name  string
	id    int
	value int32
	bytes int
}

func (a attribute) set(lt *api.CublasLt, desc uintptr) api.Status {
	if a.bytes == 1 {
		v := int8(a.value)
		return lt.MatmulDescSetAttribute(desc, a.id, unsafe.Pointer(&v), 1)
	}
	return lt.MatmulDescSetAttribute(desc, a.id, unsafe.Pointer(&a.value), 4)
}

// The library's transpositions.
const opN, opT = 0, 1

// attributes are all that a product sets but its pointers.
func attributes(p Problem) []attribute {
	transA, transB := int32(opN), int32(opT)
	if p.B.KContiguous {
		transA = opT
	}
	if p.A.KContiguous {
		transB = opN
	}
	all := []attribute{
		{"TRANSA", api.CUBLASLT_MATMUL_DESC_TRANSA, transA, 4},
		{"TRANSB", api.CUBLASLT_MATMUL_DESC_TRANSB, transB, 4},
		{"EPILOGUE", api.CUBLASLT_MATMUL_DESC_EPILOGUE, api.CUBLASLT_EPILOGUE_DEFAULT, 4},
	}
	if p.FastAccum && p.A.Type.IsFloat8() {
		all = append(all, attribute{"FAST_ACCUM", api.CUBLASLT_MATMUL_DESC_FAST_ACCUM, 1, 1})
	}
	if p.A.Scales == Each {
		all = append(all,
			attribute{"A_SCALE_MODE", api.CUBLASLT_MATMUL_DESC_A_SCALE_MODE, api.CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F, 4},
			attribute{"B_SCALE_MODE", api.CUBLASLT_MATMUL_DESC_B_SCALE_MODE, api.CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F, 4})
	}
	return all
}

// matrix is a column-major one.
type matrix struct {
	kind       int
	rows, cols uint64
	ld         int64
}

// first is octet's right operand, second its left one, result D transposed.
func first(p Problem) matrix  { return p.B.matrix(p.N, p.K) }
func second(p Problem) matrix { return p.A.matrix(p.M, p.K) }
func result(p Problem) matrix {
	return matrix{types[p.D], uint64(p.N), uint64(p.M), int64(p.N)}
}

func (s Side) matrix(lanes, k int) matrix {
	if s.KContiguous {
		return matrix{types[s.Type], uint64(k), uint64(lanes), int64(s.LD)}
	}
	return matrix{types[s.Type], uint64(lanes), uint64(k), int64(s.LD)}
}
