// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"

	"octet/device/cuda/api"
	code "octet/device/cuda/kernels"
)

// Inspect looks for NVIDIA's libraries and for GPUs, and uses neither.
func Inspect(s api.Search) Report {
	var r Report
	driver, err := api.OpenCUDA(s)
	if err != nil {
		driver = nil
	}
	var found *api.Library
	if driver != nil {
		found = &driver.Library
	}
	r.Libraries = append(r.Libraries, libraryReport("cuda", found, err))

	lt, err := api.OpenCublasLt(s, driver)
	found = nil
	if err == nil {
		found = &lt.Library
	}
	r.Libraries = append(r.Libraries, libraryReport("cublaslt", found, err))

	nccl, err := api.OpenNCCL(s, driver)
	found = nil
	if err == nil {
		found = &nccl.Library
	}
	r.Libraries = append(r.Libraries, libraryReport("nccl", found, err))

	if driver == nil {
		return r
	}
	r.GPUs, r.Err = GPUs(s)
	return r
}

// libraryReport is of a library that was opened, or of why it was not.
func libraryReport(name string, l *api.Library, err error) LibraryReport {
	r := LibraryReport{Soname: api.Soname(name), Err: err}
	if notFound, ok := errors.AsType[*api.NotFound](err); ok {
		r.Attempts = notFound.Attempts
	}
	if unfit, ok := errors.AsType[*api.Unfit](err); ok {
		r.Path, r.Attempts = unfit.Path, unfit.Attempts
	}
	if err != nil {
		return r
	}
	r.Path, r.Version, r.Attempts = l.Path, l.VersionText(), l.Attempts
	switch {
	case name == "cublaslt" && l.Version >= 120900:
		r.Features = append(r.Features, "scales of tensors, rows and blocks of 128")
	case name == "cublaslt":
		r.Features = append(r.Features, "scales of tensors; of rows and blocks from 12.9 on")
	}
	for _, f := range api.Functions(name) {
		if f.Optional && l.Has(f.Name) {
			r.Features = append(r.Features, f.Name)
		}
	}
	for _, f := range l.Missing() {
		r.Features = append(r.Features, fmt.Sprintf("no %s (since %s)", f.Name, f.Since))
	}
	return r
}

// GPUs are those that the driver shows.
func GPUs(s api.Search) ([]Info, error) {
	lib, err := openDriver(s)
	if err != nil {
		return nil, err
	}
	var n int32
	if r := lib.DeviceGetCount(&n); r != api.CUDA_SUCCESS {
		return nil, fmt.Errorf("cuDeviceGetCount: %s", resultText(lib, r))
	}
	var all []Info
	for i := range int(n) {
		info, err := describe(lib, i)
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}

// errFewer is the error of a rank that has no GPU.
func errFewer(rank, gpus int, visible string) error {
	return fmt.Errorf("rank %d wants GPU %d, this host shows %d; use --nproc-per-node %d, or check CUDA_VISIBLE_DEVICES (now %q)", rank, rank, gpus, gpus, visible)
}

// Check finds why ranks of this host cannot have a GPU each, as Open would, and returns
// those GPUs. It makes no context.
func Check(s api.Search, ranks int) ([]Info, error) {
	if s.Getenv == nil {
		s = api.System()
	}
	all, err := GPUs(s)
	if err != nil {
		return nil, err
	}
	if len(all) < ranks {
		return nil, errFewer(len(all), len(all), s.Getenv("CUDA_VISIBLE_DEVICES"))
	}
	m, err := code.ReadManifest()
	if err != nil {
		return nil, err
	}
	for _, info := range all[:ranks] {
		if _, err := m.Target(info.Capability); err != nil {
			return nil, err
		}
	}
	return all[:ranks], nil
}
