// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package api

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include "api.h"

static CUcontext *octet_current(void) {
	static __thread CUcontext now;
	return &now;
}

static const char *octet_path(void *handle) {
	struct link_map *map;
	return dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : "";
}

// octet_open says why it fails on the thread that it was tried on.
static void *octet_open(const char *path, char *why, size_t size) {
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) snprintf(why, size, "%s", dlerror());
	return handle;
}

static void *octet_table(size_t bytes) { return calloc(1, bytes); }
static void octet_set_current(octet_cuda *t) { t->current = octet_current; }
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// CUDA is the driver, libcuda.
type CUDA struct {
	Library
	caller
	table *C.octet_cuda
}

// CublasLt is libcublasLt.
type CublasLt struct {
	Library
	caller
	table *C.octet_cublaslt
}

// NCCL is libnccl.
type NCCL struct {
	Library
	caller
	table *C.octet_nccl
}

// caller is what a call does beside calling.
type caller struct {
	context C.uintptr_t
	trace   func(call string, result int, args ...any)
}

// In is the library, called in a context.
func (l *CUDA) In(context uintptr) *CUDA {
	in := *l
	in.context = C.uintptr_t(context)
	return &in
}

// In is the library, called in a context.
func (l *CublasLt) In(context uintptr) *CublasLt {
	in := *l
	in.context = C.uintptr_t(context)
	return &in
}

// In is the library, called in a context.
func (l *NCCL) In(context uintptr) *NCCL {
	in := *l
	in.context = C.uintptr_t(context)
	return &in
}

// Trace has f told of every call from now on: its result, and the arguments that are no
// pointers.
func (l *CUDA) Trace(f func(call string, result int, args ...any))     { l.trace = f }
func (l *CublasLt) Trace(f func(call string, result int, args ...any)) { l.trace = f }
func (l *NCCL) Trace(f func(call string, result int, args ...any))     { l.trace = f }

// Table points to the octet_cuda, octet_cublaslt or octet_nccl of api.h.
func (l *CUDA) Table() unsafe.Pointer     { return unsafe.Pointer(l.table) }
func (l *CublasLt) Table() unsafe.Pointer { return unsafe.Pointer(l.table) }
func (l *NCCL) Table() unsafe.Pointer     { return unsafe.Pointer(l.table) }

// OpenCUDA opens the driver, which is there for as long as the process. It initialises
// nothing.
func OpenCUDA(s Search) (*CUDA, error) {
	l := &CUDA{table: (*C.octet_cuda)(C.octet_table(C.sizeof_octet_cuda))}
	C.octet_set_current(l.table)
	lib, err := open(s, "cuda", unsafe.Pointer(l.table))
	if err != nil {
		return nil, err
	}
	l.Library = lib
	if l.Has("cuDriverGetVersion") {
		var v int32
		if r := l.DriverGetVersion(&v); r == CUDA_ERROR_STUB_LIBRARY {
			return nil, l.Stub()
		}
		l.Version = int(v)
	}
	return l, l.fit()
}

// Stub is the error of a driver that says of itself that it is the toolkit's stub.
func (l *CUDA) Stub() error {
	return &Unfit{l.Name, l.Path, fmt.Sprintf("the toolkit's stub libcuda was opened (%s), not the driver's; take it off LD_LIBRARY_PATH", l.Path), l.Attempts}
}

// OpenCublasLt opens libcublasLt beside a driver.
func OpenCublasLt(s Search, cuda *CUDA) (*CublasLt, error) {
	l := &CublasLt{table: (*C.octet_cublaslt)(C.octet_table(C.sizeof_octet_cublaslt))}
	lib, err := open(s, "cublaslt", unsafe.Pointer(l.table))
	if err != nil {
		return nil, err
	}
	l.Library = lib
	if cuda != nil {
		l.table.cuda = cuda.table
	}
	if l.Has("cublasLtGetVersion") {
		l.Version = l.GetVersion()
	}
	return l, l.fit()
}

// OpenNCCL opens libnccl beside a driver.
func OpenNCCL(s Search, cuda *CUDA) (*NCCL, error) {
	l := &NCCL{table: (*C.octet_nccl)(C.octet_table(C.sizeof_octet_nccl))}
	lib, err := open(s, "nccl", unsafe.Pointer(l.table))
	if err != nil {
		return nil, err
	}
	l.Library = lib
	if cuda != nil {
		l.table.cuda = cuda.table
	}
	if l.Has("ncclGetVersion") {
		var v int32
		l.GetVersion(&v)
		l.Version = int(v)
	}
	return l, l.fit()
}

// open opens the first candidate that can be, and fills the table: a pointer, then one
// for each function.
func open(s Search, name string, table unsafe.Pointer) (Library, error) {
	l := Library{Name: name, Soname: sonames(name)[0], missing: map[string]bool{}}
	var handle unsafe.Pointer
	for _, path := range s.Candidates(name) {
		c := C.CString(path)
		var why [1024]C.char
		handle = C.octet_open(c, &why[0], C.size_t(len(why)))
		C.free(unsafe.Pointer(c))
		if handle != nil {
			l.Attempts = append(l.Attempts, Attempt{Path: path})
			l.Path = C.GoString(C.octet_path(handle))
			break
		}
		l.Attempts = append(l.Attempts, Attempt{path, strings.TrimPrefix(C.GoString(&why[0]), path+": ")})
	}
	if handle == nil {
		return l, &NotFound{name, l.Attempts}
	}
	functions := rows(name)
	pointers := unsafe.Slice((*unsafe.Pointer)(table), 1+len(functions))
	for i, f := range functions {
		c := C.CString(f.Name)
		if pointers[1+i] = C.dlsym(handle, c); pointers[1+i] == nil {
			l.missing[f.Name] = true
		}
		C.free(unsafe.Pointer(c))
	}
	return l, nil
}

// Text is what a char * of a library says, as of GetErrorName.
func Text(p unsafe.Pointer) string { return C.GoString((*C.char)(p)) }
