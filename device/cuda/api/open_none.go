// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !linux

package api

// CUDA, CublasLt and NCCL cannot be opened in this build.
type (
	CUDA     struct{ Library }
	CublasLt struct{ Library }
	NCCL     struct{ Library }
)

// OpenCUDA fails.
func OpenCUDA(Search) (*CUDA, error) { return nil, ErrNoCgo }

// OpenCublasLt fails.
func OpenCublasLt(Search, *CUDA) (*CublasLt, error) { return nil, ErrNoCgo }

// OpenNCCL fails.
func OpenNCCL(Search, *CUDA) (*NCCL, error) { return nil, ErrNoCgo }
