// SPDX-License-Identifier: Apache-2.0

// Package api calls NVIDIA's libraries, which it opens while the program runs: nothing
// of theirs is needed to build. What it calls is the table device/cuda/cuda.api; the
// generated files are made of it (`go generate`).
//
//	cuda, err := api.OpenCUDA(api.System())
//	nccl, err := api.OpenNCCL(api.System(), cuda)
//	r := cuda.In(context).MemAlloc(&address, bytes)
//
// A method is one call of C, of the same name. In a context (In) it first makes that the
// calling thread's, where it is not: goroutines move between threads, and the current
// context does not. Memory of Go may be handed only to calls that are done with it when
// they return.
//
// C code of other packages includes api.h and has the functions in the struct that Table
// points to. The simulated libraries define what the exports_*.h declare.
package api

import (
	"errors"
	"fmt"
	"strings"
)

//go:generate go run ./gen

// Function is a function of a library: the version of the library that brought it, and
// whether octet does without where it is missing.
type Function struct {
	Name, Since string
	Optional    bool
}

// Functions are those that the table has of a library, "cuda", "cublaslt" or "nccl".
func Functions(library string) []Function { return rows(library) }

// Attempt is a file that was tried, and why it was not taken; "" where it was.
type Attempt struct{ Path, Failure string }

// Library is a library that was opened.
type Library struct {
	Name     string // as "cuda"
	Soname   string // what it is called, as "libcuda.so.1"
	Path     string
	Version  int // as the library counts; see VersionText
	Attempts []Attempt

	missing map[string]bool
}

// Has reports whether the library has a function that is optional.
func (l *Library) Has(function string) bool { return !l.missing[function] }

// Missing are the optional functions that it has not, in the order of the table.
func (l *Library) Missing() (all []Function) {
	for _, f := range rows(l.Name) {
		if l.missing[f.Name] {
			all = append(all, f)
		}
	}
	return all
}

// VersionText is as "13.0" of the driver, "13.0.0" of cuBLASLt and "2.28.9" of NCCL.
func (l *Library) VersionText() string { return versionText(l.Name, l.Version) }

func versionText(library string, v int) string {
	if library == "cuda" {
		return fmt.Sprintf("%d.%d", v/1000, v%1000/10)
	}
	return fmt.Sprintf("%d.%d.%d", v/10000, v%10000/100, v%100)
}

// ErrNoCgo is the error of all libraries in a build without cgo, or for another system
// than Linux.
var ErrNoCgo = errors.New("octet was built without cgo, or not for Linux: it cannot open libraries of NVIDIA's")

// NotFound is the error of a library that no candidate could be opened for.
type NotFound struct {
	Library  string
	Attempts []Attempt
}

func (e *NotFound) Error() string {
	var tried []string
	for _, a := range e.Attempts {
		tried = append(tried, a.Path+": "+a.Failure)
	}
	return fmt.Sprintf("cannot open %s (tried: %s): %s", Soname(e.Library), strings.Join(tried, "; "), e.Advice())
}

// Advice is what helps.
func (e *NotFound) Advice() string { return advice[e.Library] }

// Soname is what a library is called, as "libcuda.so.1".
func Soname(library string) string { return sonames(library)[0] }

// advice is what helps where a library is not found.
var advice = map[string]string{
	"cuda":     `no NVIDIA driver on this machine; use "cpu", or set OCTET_CUDA_LIB`,
	"cublaslt": "install the wheel nvidia-cublas, or set OCTET_CUBLASLT_LIB",
	"nccl":     "install the wheel nvidia-nccl-cu13, or set OCTET_NCCL_LIB",
}

// Unfit is the error of a library that was opened and cannot be used.
type Unfit struct {
	Library, Path, Reason string
	Attempts              []Attempt
}

func (e *Unfit) Error() string { return e.Reason }

// oldest is the version of a library from which on octet takes it.
var oldest = map[string]int{"cuda": 13000, "cublaslt": 120000, "nccl": 22403}

// fit finds why a library that was opened cannot be used; functions are those it lacks.
func (l *Library) fit() error {
	for _, f := range rows(l.Name) {
		if l.missing[f.Name] && !f.Optional {
			is := ""
			if l.Version > 0 {
				is = " is " + l.VersionText() + " and"
			}
			return &Unfit{l.Name, l.Path, fmt.Sprintf("%s at %s%s lacks %s (since %s)", l.Soname, l.Path, is, f.Name, f.Since), l.Attempts}
		}
	}
	if l.Version >= oldest[l.Name] {
		return nil
	}
	need := versionText(l.Name, oldest[l.Name])
	reason := fmt.Sprintf("%s at %s is %s, octet needs %s or newer", l.Soname, l.Path, l.VersionText(), need)
	if l.Name == "cuda" {
		reason = fmt.Sprintf("driver supports CUDA %s, octet needs %s: driver 580 or newer", l.VersionText(), need)
	}
	return &Unfit{l.Name, l.Path, reason, l.Attempts}
}
