// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

import (
	"errors"
	"fmt"
	"sync"

	"octet/device/cuda/api"
)

// Library is cuBLASLt on one GPU, in its context. Its methods may be called from any goroutine.
type Library struct {
	lt        *api.CublasLt
	context   uintptr
	handle    uintptr
	workspace int // bytes that a stream gives
	modes     Modes
	chip      chip
	kept      string // the file of what was tuned; "" for none
	stale     string // why it was not read
	tell      func(string)
	quiet     func()

	mu    sync.Mutex
	found map[Problem]How
	tuned map[Problem]record
}

// WorkspaceBytes is what every stream gives cuBLASLt to work in, memory of its own: what
// NVIDIA advises for Hopper and later, and before.
func WorkspaceBytes(major int) int {
	if major >= 9 {
		return 32 << 20
	}
	return 4 << 20
}

// Options are what Open is told of the GPU.
type Options struct {
	Context      uintptr
	Major, Minor int                      // compute capability
	Device       string                   // the GPU's name
	Getenv       func(name string) string // of where what was tuned is kept; nil: nowhere
	Tell         func(text string)        // of products that go another way, once each; nil: nobody
	// Quiet is called before a plan is made, and before it is first run, which may load kernels
	// and so wait for all that the GPU is at: it lets collectives end. Nil: there are none.
	Quiet func()
}

// Open probes what the library does on a GPU: it asks for an algorithm for each mode and
// runs one product of small integers, whose result is known. The memory of the probe is
// given back.
func Open(lt *api.CublasLt, cuda *api.CUDA, o Options) (*Library, error) {
	l := &Library{lt: lt.In(o.Context), context: o.Context, workspace: WorkspaceBytes(o.Major), tell: o.Tell, quiet: o.Quiet, found: map[Problem]How{}}
	if l.tell == nil {
		l.tell = func(string) {}
	}
	if l.quiet == nil {
		l.quiet = func() {}
	}
	var handle uintptr
	if s := l.lt.Create(&handle); s != api.CUBLAS_STATUS_SUCCESS {
		return nil, l.failed("cublasLtCreate", s)
	}
	l.handle = handle
	modes, err := probe(l, cuda.In(o.Context))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	modes.Accumulate = o.Major*10+o.Minor != 90 || lt.Version >= 130200
	l.modes = modes
	l.readTuned(o)
	return l, nil
}

// Modes is what the probe found.
func (l *Library) Modes() Modes { return l.modes }

// Workspace is how many bytes a stream gives to Args.Workspace, aligned to 256.
func (l *Library) Workspace() int { return l.workspace }

// Close ends the library; no product may be running.
func (l *Library) Close() error {
	var errs []error
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, how := range l.found {
		if how.Plan != nil {
			errs = append(errs, how.Plan.close())
		}
	}
	l.found = nil
	if s := l.lt.Destroy(l.handle); s != api.CUBLAS_STATUS_SUCCESS {
		errs = append(errs, l.failed("cublasLtDestroy", s))
	}
	return errors.Join(errs...)
}

// How is the way in which a product is made.
type How struct {
	Route
	Plan *Plan // what cuBLASLt is asked for; nil for Own
}

// Choose finds the way for a product, once: the first for which cuBLASLt has an
// algorithm. Making a plan takes milliseconds and may load kernels: Options.Quiet comes before.
func (l *Library) Choose(p Problem) How {
	l.mu.Lock()
	defer l.mu.Unlock()
	if how, ok := l.found[p]; ok {
		return how
	}
	l.quiet()
	how := l.choose(p)
	l.found[p] = how
	if how.Why != "" {
		l.tell(fmt.Sprintf("matmul %v: %v", p, how.Route))
	}
	return how
}

func (l *Library) choose(p Problem) How {
	var last Route
	var refused error
	for _, last = range Routes(p, l.modes) {
		if last.Kind == Own {
			break
		}
		plan, err := l.newPlan(last.asked(p))
		if err == nil {
			return How{last, plan}
		}
		refused = err
	}
	if refused != nil {
		last.Why = refused.Error()
	}
	return How{Route: last}
}

// failed is the error of a call.
func (l *Library) failed(call string, s api.Status) error {
	return fmt.Errorf("cuBLASLt: %s: %s (%d)", call, l.lt.GetStatusName(s), int(s))
}
