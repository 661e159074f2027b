// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

/*
#include "glue.h"
*/
import "C"

import (
	"errors"
	"slices"
	"time"
	"unsafe"

	"octet/device/cuda/api"
)

// Tune times each algorithm that cuBLASLt proposes for a plan's product, in turns, so many
// or as many as come within a time and one at least, has the plan take the fastest from then on, and
// notes it for SaveTuned. run runs the plan once; clock says how long what it is given took on the GPU. Times are the medians of
// the turns, in the library's order: its own choice is the first; 0 is one that does not run.
func (l *Library) Tune(plan *Plan, turns int, within time.Duration, run func() error, clock func(func() error) (time.Duration, error)) (times []time.Duration, best int, err error) {
	choices, err := plan.algorithms()
	if err != nil {
		return nil, 0, err
	}
	before := plan.taken()
	defer func() {
		if err != nil {
			plan.take(before)
		}
	}()
	runs, taken := make([]int, len(choices)), make([][]time.Duration, len(choices))
	for i, choice := range choices {
		plan.take(choice)
		if run() != nil { // it may load kernels, or be refused
			continue
		}
		took, err := clock(run)
		if err != nil {
			return nil, 0, err
		}
		runs[i] = max(1, min(mostRuns, int(enough/max(1, took))))
	}
	start := time.Now()
	for turn := range max(1, turns) {
		if turn > 0 && time.Since(start) >= within {
			break
		}
		for i, choice := range choices {
			if runs[i] == 0 {
				continue
			}
			plan.take(choice)
			took, err := clock(func() error {
				for range runs[i] {
					if err := run(); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return nil, 0, err
			}
			taken[i] = append(taken[i], took/time.Duration(runs[i]))
		}
	}
	best = -1
	for i := range taken {
		took := time.Duration(0)
		if n := len(taken[i]); n > 0 {
			slices.Sort(taken[i])
			took = max(1, taken[i][n/2])
		}
		times = append(times, took)
		if took > 0 && (best < 0 || took < times[best]) {
			best = i
		}
	}
	if best < 0 {
		return nil, 0, errors.New("no algorithm of cuBLASLt's runs")
	}
	plan.take(choices[best])
	r := recordOf(plan.problem)
	r.Algorithm, r.Nanoseconds = *(*[8]uint64)(unsafe.Pointer(&choices[best].data)), uint64(times[best])
	l.mu.Lock()
	l.tuned[plan.problem] = r
	l.mu.Unlock()
	return times, best, nil
}

// A product that is short is run until it takes enough for the clock, so often at most.
const (
	enough   = time.Millisecond
	mostRuns = 64
)

func (p *Plan) take(a C.cublasLtMatmulAlgo_t) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.algorithm = a
}

func (p *Plan) taken() C.cublasLtMatmulAlgo_t {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.algorithm
}

func algorithmOf(data [8]uint64) C.cublasLtMatmulAlgo_t {
	return *(*C.cublasLtMatmulAlgo_t)(unsafe.Pointer(&data))
}

// check asks cuBLASLt whether an algorithm is one for the plan's product, and how many bytes of workspace it needs.
func (p *Plan) check(a *C.cublasLtMatmulAlgo_t) (workspace int, s api.Status) {
	var r C.cublasLtMatmulHeuristicResult_t
	s = p.lib.lt.MatmulAlgoCheck(p.lib.handle, p.desc, p.a, p.b, p.d, p.d, unsafe.Pointer(a), unsafe.Pointer(&r))
	if s == api.CUBLAS_STATUS_SUCCESS {
		s = api.Status(r.state)
	}
	return int(r.workspaceSize), s
}
