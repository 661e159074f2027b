// SPDX-License-Identifier: Apache-2.0

//go:build cgo

// Package registry runs the kernels of device/cuda/kernels on this processor, without
// a driver, real or simulated: for tests of kernels alone.
package registry

/*
#cgo CFLAGS: -I${SRCDIR}/../emu
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include "registry.h"

typedef struct {
	const sim_kernel *(*find)(const char *);
	const sim_kernel *(*at)(size_t);
	const char *(*name)(const sim_kernel *);
	uint32_t (*threads)(const sim_kernel *);
	size_t (*params)(const sim_kernel *);
	size_t (*ranges)(const sim_kernel *, void *const *, sim_range *, size_t);
	void (*run)(const sim_kernel *, const sim_launch *, sim_report *);
} registry;

static const char *registry_open(registry *r, const char *path) {
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib) return dlerror();
	const struct { void *to; const char *name; } all[] = {
		{&r->find, "sim_kernel_find"}, {&r->at, "sim_kernel_at"}, {&r->name, "sim_kernel_name"}, {&r->threads, "sim_kernel_threads"},
		{&r->params, "sim_kernel_params"}, {&r->ranges, "sim_kernel_ranges"}, {&r->run, "sim_kernel_run"}};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (!(*(void **)all[i].to = dlsym(lib, all[i].name))) return dlerror();
	return NULL;
}

enum { most = 32 };

// An argument is sixteen bytes, of which a kernel reads what it declares.
static void addresses(void **params, const uint64_t *args, size_t n) {
	for (size_t i = 0; i < n; i++) params[i] = (void *)(args + 2 * i);
}
static void registry_run(const registry *r, const sim_kernel *k, sim_launch l, const uint64_t *args, size_t n, sim_report *report) {
	void *params[most];
	addresses(params, args, n);
	l.params = params;
	r->run(k, &l, report);
}
static size_t registry_ranges(const registry *r, const sim_kernel *k, const uint64_t *args, size_t n, sim_range *out, size_t max) {
	void *params[most];
	addresses(params, args, n);
	return r->ranges(k, params, out, max);
}
static const sim_kernel *registry_find(const registry *r, const char *name) { return r->find(name); }
static const sim_kernel *registry_at(const registry *r, size_t i) { return r->at(i); }
static const char *registry_name(const registry *r, const sim_kernel *k) { return r->name(k); }
static uint32_t registry_threads(const registry *r, const sim_kernel *k) { return r->threads(k); }
static size_t registry_params(const registry *r, const sim_kernel *k) { return r->params(k); }
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// Registry is an open library of kernels.
type Registry struct{ c C.registry }

// Open opens what sim.Build has made of sim.Kernels.
func Open(path string) (*Registry, error) {
	r := new(Registry)
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if why := C.registry_open(&r.c, name); why != nil {
		return nil, errors.New("registry: " + C.GoString(why))
	}
	return r, nil
}

// Kernel is what the registry has of one.
type Kernel struct {
	Name            string
	Threads, Params int
}

// Kernels are all, in order of their names.
func (r *Registry) Kernels() (all []Kernel) {
	for i := 0; ; i++ {
		k := C.registry_at(&r.c, C.size_t(i))
		if k == nil {
			return all
		}
		all = append(all, Kernel{C.GoString(C.registry_name(&r.c, k)), int(C.registry_threads(&r.c, k)), int(C.registry_params(&r.c, k))})
	}
}

// Argument is sixteen bytes, of which a kernel reads what its parameter has.
type Argument = [2]uint64

// Launch is a launch of a kernel. Seed is the order of blocks and threads; 0 is as they
// are numbered.
type Launch struct {
	Kernel              string
	Grid, Block, Shared int
	Seed                uint64
	Arguments           []Argument
}

// Report is what a launch came to.
type Report struct {
	Read, Written int     // bytes of global memory
	By            []Moved // by argument; where two are at one address the first has all. Of a list its tensors, and not its table
}

// Moved is how many bytes of an argument were read and written.
type Moved struct{ Read, Written int }

// Run runs a launch to its end. Its error is what a GPU would have failed on or passed
// over: an access out of bounds, a barrier that some threads never reach.
func (r *Registry) Run(l Launch) (Report, error) {
	k, err := r.find(l)
	if err != nil {
		return Report{}, err
	}
	var report C.sim_report
	launch := C.sim_launch{grid: C.uint32_t(l.Grid), block: C.uint32_t(l.Block), shared: C.uint32_t(l.Shared), seed: C.uint64_t(l.Seed)}
	C.registry_run(&r.c, k, launch, (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(l.Arguments))), C.size_t(len(l.Arguments)), &report)
	if text := C.GoString(&report.fault[0]); text != "" {
		return Report{}, errors.New("registry: " + text)
	}
	moved := Report{Read: int(report.bytes_read), Written: int(report.bytes_written), By: make([]Moved, len(l.Arguments))}
	for i := range moved.By {
		moved.By[i] = Moved{int(report.read[i]), int(report.written[i])}
	}
	return moved, nil
}

// Range is memory that a launch touches, by one of its arguments.
type Range struct {
	Argument       string // its declaration
	Address, Bytes uint64
	Writes         bool
}

// Ranges is what a launch may touch; it reads the tables of lists.
func (r *Registry) Ranges(l Launch) ([]Range, error) {
	k, err := r.find(l)
	if err != nil {
		return nil, err
	}
	args, n := (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(l.Arguments))), C.size_t(len(l.Arguments))
	found := make([]C.sim_range, C.registry_ranges(&r.c, k, args, n, nil, 0))
	C.registry_ranges(&r.c, k, args, n, unsafe.SliceData(found), C.size_t(len(found)))
	all := make([]Range, len(found))
	for i, f := range found {
		all[i] = Range{C.GoString(f.argument), uint64(f.address), uint64(f.bytes), f.writes != 0}
	}
	return all, nil
}

func (r *Registry) find(l Launch) (*C.sim_kernel, error) {
	name := C.CString(l.Kernel)
	defer C.free(unsafe.Pointer(name))
	k := C.registry_find(&r.c, name)
	if k == nil {
		return nil, fmt.Errorf("registry: no kernel %q", l.Kernel)
	}
	if n := int(C.registry_params(&r.c, k)); n != len(l.Arguments) {
		return nil, fmt.Errorf("registry: %s of %d arguments; it takes %d", l.Kernel, len(l.Arguments), n)
	}
	return k, nil
}
