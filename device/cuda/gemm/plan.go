// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

/*
#cgo CFLAGS: -I${SRCDIR}/../api
#include "glue.h"
#cgo noescape octet_gemm
#cgo nocallback octet_gemm
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"octet/device/cuda/api"
)

// Plan is a product that cuBLASLt has an algorithm for: its descriptors and that algorithm.
type Plan struct {
	lib        *Library
	mu         sync.Mutex // of the descriptor, whose scales belong to a call
	desc       uintptr
	a, b, d    uintptr // layouts, in cuBLASLt's terms: a is octet's right operand
	problem    Problem
	algorithm  C.cublasLtMatmulAlgo_t
	accumulate int // 1: yes
	scaled     int
	ran        bool
}

// newPlan makes descriptors and finds an algorithm: the one that a tuning kept, or the first that cuBLASLt proposes.
func (l *Library) newPlan(p Problem) (*Plan, error) {
	plan, err := l.described(p)
	if err != nil {
		return nil, err
	}
	if kept, ok := l.tuned[p]; ok {
		plan.algorithm = algorithmOf(kept.Algorithm)
		return plan, nil
	}
	choices, err := plan.algorithms()
	if err != nil {
		return nil, errors.Join(err, plan.close())
	}
	plan.algorithm = choices[0]
	return plan, nil
}

// described is a plan with its descriptors and without an algorithm.
func (l *Library) described(p Problem) (plan *Plan, err error) {
	plan = &Plan{lib: l, problem: p, accumulate: one(p.Accumulate), scaled: one(p.A.Scales != None || p.B.Scales != None)}
	defer func() {
		if err != nil {
			err = errors.Join(err, plan.close())
			plan = nil
		}
	}()
	ok := func(call string, s api.Status) {
		if err == nil && s != api.CUBLAS_STATUS_SUCCESS {
			err = l.failed(call, s)
		}
	}
	var made uintptr // C writes to memory that holds no pointers
	ok("cublasLtMatmulDescCreate", l.lt.MatmulDescCreate(&made, api.CUBLAS_COMPUTE_32F, api.CUDA_R_32F))
	plan.desc = made
	for _, a := range attributes(p) {
		ok("cublasLtMatmulDescSetAttribute "+a.name, a.set(l.lt, plan.desc))
	}
	for _, x := range []struct {
		to *uintptr
		matrix
	}{{&plan.a, first(p)}, {&plan.b, second(p)}, {&plan.d, result(p)}} {
		made = 0
		ok("cublasLtMatrixLayoutCreate", l.lt.MatrixLayoutCreate(&made, x.kind, x.rows, x.cols, x.ld))
		*x.to = made
	}
	return plan, err
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// candidates is how many algorithms are asked for.
const candidates = 8

// algorithms asks for those that cuBLASLt takes to be the best, best first, and leaves out those that do not work here. There
// is one at least, or an error.
func (p *Plan) algorithms() (all []C.cublasLtMatmulAlgo_t, err error) {
	l := p.lib
	var preference uintptr
	if s := l.lt.MatmulPreferenceCreate(&preference); s != api.CUBLAS_STATUS_SUCCESS {
		return nil, l.failed("cublasLtMatmulPreferenceCreate", s)
	}
	defer func() {
		if s := l.lt.MatmulPreferenceDestroy(preference); s != api.CUBLAS_STATUS_SUCCESS {
			err = errors.Join(err, l.failed("cublasLtMatmulPreferenceDestroy", s))
		}
	}()
	bytes := uint64(l.workspace)
	if s := l.lt.MatmulPreferenceSetAttribute(preference, api.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, unsafe.Pointer(&bytes), 8); s != api.CUBLAS_STATUS_SUCCESS {
		return nil, l.failed("cublasLtMatmulPreferenceSetAttribute MAX_WORKSPACE_BYTES", s)
	}
	for _, a := range []struct{ id, align int }{
		{api.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.problem.B.Align}, {api.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.problem.A.Align},
		{api.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.problem.DAlign}, {api.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.problem.DAlign},
	} {
		align := uint32(a.align)
		if s := l.lt.MatmulPreferenceSetAttribute(preference, a.id, unsafe.Pointer(&align), 4); s != api.CUBLAS_STATUS_SUCCESS {
			return nil, l.failed(fmt.Sprintf("cublasLtMatmulPreferenceSetAttribute %d", a.id), s)
		}
	}
	var found [candidates]C.cublasLtMatmulHeuristicResult_t
	var got int32
	s := l.lt.MatmulAlgoGetHeuristic(l.handle, p.desc, p.a, p.b, p.d, p.d, preference, candidates, unsafe.Pointer(&found[0]), &got)
	if s != api.CUBLAS_STATUS_SUCCESS {
		return nil, l.failed("cublasLtMatmulAlgoGetHeuristic", s)
	}
	for _, f := range found[:got] {
		if f.state == api.CUBLAS_STATUS_SUCCESS && int(f.workspaceSize) <= l.workspace {
			all = append(all, f.algo)
		}
	}
	if all == nil {
		return nil, errors.New(noAlgorithm)
	}
	return all, nil
}

// Args are a product's memory: addresses on the device. C where D is added to is D.
type Args struct {
	A, B, D    uint64 // octet's left and right operand, and the result
	AInv, BInv uint64 // their reciprocals, of as many numbers as the problem's Scales say; 0 for None
	Workspace  uint64 // Library.Workspace bytes, the stream's own
}

// Run enqueues the product on a stream of the driver.
func (p *Plan) Run(stream uintptr, args Args) error {
	l := p.lib
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ran {
		l.quiet()
		p.ran = true
	}
	s := api.Status(C.octet_gemm((*C.octet_cublaslt)(l.lt.Table()), C.uintptr_t(l.context), &C.octet_product{
		handle: C.uintptr_t(l.handle), desc: C.uintptr_t(p.desc), a: C.uintptr_t(p.a), b: C.uintptr_t(p.b), d: C.uintptr_t(p.d),
		algorithm: p.algorithm, accumulate: C.int(p.accumulate), scaled: C.int(p.scaled),
		first: C.uint64_t(args.B), second: C.uint64_t(args.A), result: C.uint64_t(args.D),
		first_inverse: C.uint64_t(args.BInv), second_inverse: C.uint64_t(args.AInv),
		workspace: C.uint64_t(args.Workspace), workspace_bytes: C.size_t(l.workspace), stream: C.uintptr_t(stream),
	}))
	if s != api.CUBLAS_STATUS_SUCCESS {
		return l.failed("cublasLtMatmul", s)
	}
	return nil
}

func (p *Plan) close() error {
	var errs []error
	lt := p.lib.lt
	for _, layout := range []uintptr{p.a, p.b, p.d} {
		if layout == 0 {
			continue
		}
		if s := lt.MatrixLayoutDestroy(layout); s != api.CUBLAS_STATUS_SUCCESS {
			errs = append(errs, p.lib.failed("cublasLtMatrixLayoutDestroy", s))
		}
	}
	if p.desc != 0 {
		if s := lt.MatmulDescDestroy(p.desc); s != api.CUBLAS_STATUS_SUCCESS {
			errs = append(errs, p.lib.failed("cublasLtMatmulDescDestroy", s))
		}
	}
	return errors.Join(errs...)
}
