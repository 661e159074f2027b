// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"unsafe"

	"octet/device/cuda/api"
	code "octet/device/cuda/kernels"
)

// ptxVariable chooses PTX where there is machine code too: how chips that are not known yet
// get their kernels is tried on known ones.
const ptxVariable = "OCTET_CUDA_PTX"

// load loads every kernel, before the first collective: loading one later could wait for
// work that waits for another rank.
func (d *Device) load(getenv func(string) string) error {
	m, err := code.ReadManifest()
	if err != nil {
		return err
	}
	best := m.Target
	if getenv(ptxVariable) == "1" {
		best = m.PTX
	}
	target, err := best(d.info.Capability)
	if err != nil {
		return err
	}
	images, err := code.Images(target)
	if err != nil {
		return err
	}
	where := map[string]uintptr{}
	for _, i := range images {
		var module uintptr
		switch r := d.cuda.ModuleLoadDataEx(&module, unsafe.Pointer(&i.Data[0]), 0, nil, nil); r {
		case api.CUDA_SUCCESS:
		case api.CUDA_ERROR_NO_BINARY_FOR_GPU:
			return code.NoImage(d.info.Capability)
		case api.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
			return errNewPTX
		default:
			return d.failure("cuModuleLoadDataEx of "+i.Module+" for "+target, r)
		}
		d.modules = append(d.modules, module)
		for _, k := range i.Kernels {
			where[k.Name] = module
		}
	}
	for k := range d.functions {
		module, ok := where[kernel(k).String()]
		if !ok {
			return fmt.Errorf("cuda: no image for %s has the kernel %s: `make images` compiles it", target, kernel(k))
		}
		name := append([]byte(kernel(k).String()), 0)
		if r := d.cuda.ModuleGetFunction(&d.functions[k], module, &name[0]); r != api.CUDA_SUCCESS {
			return d.failure("cuModuleGetFunction "+kernel(k).String(), r)
		}
		var registers int32
		if r := d.cuda.FuncGetAttribute(&registers, api.CU_FUNC_ATTRIBUTE_NUM_REGS, d.functions[k]); r != api.CUDA_SUCCESS {
			return d.failure("cuFuncGetAttribute "+kernel(k).String(), r)
		}
	}
	return nil
}
