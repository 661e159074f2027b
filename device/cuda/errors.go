// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"octet/device/cuda/api"
)

// resultText is as "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory".
func resultText(lib *api.CUDA, r api.Result) string {
	var name, text unsafe.Pointer
	if lib.GetErrorName(r, &name) != api.CUDA_SUCCESS || lib.GetErrorString(r, &text) != api.CUDA_SUCCESS {
		return fmt.Sprintf("error %d", r)
	}
	return fmt.Sprintf("%s (%d): %s", api.Text(name), r, api.Text(text))
}

// sticky reports whether a result ends the context: every later call returns it too.
func sticky(r api.Result) bool {
	switch r {
	case api.CUDA_ERROR_ECC_UNCORRECTABLE, api.CUDA_ERROR_NVLINK_UNCORRECTABLE, api.CUDA_ERROR_CONTAINED, api.CUDA_ERROR_ILLEGAL_ADDRESS,
		api.CUDA_ERROR_LAUNCH_TIMEOUT, api.CUDA_ERROR_ASSERT, api.CUDA_ERROR_TENSOR_MEMORY_LEAK, api.CUDA_ERROR_UNKNOWN:
		return true
	}
	return r >= api.CUDA_ERROR_HARDWARE_STACK_ERROR && r <= api.CUDA_ERROR_LAUNCH_FAILED
}

// adviceOn is where more may be found.
func adviceOn(r api.Result) string {
	if r >= 700 && r < 800 {
		return "; the kernel's log (dmesg, Xid) and compute-sanitizer may say more, and OCTET_CUDA_SYNC=1 which call it was"
	}
	return ""
}

// errNewPTX is the error of a driver that is older than the compiler of the kernels.
var errNewPTX = errors.New("the embedded PTX is newer than this driver understands; update the driver to ≥ 580")

// openDriver opens the driver and starts it.
func openDriver(s api.Search) (*api.CUDA, error) {
	lib, err := api.OpenCUDA(s)
	if err != nil {
		return nil, err
	}
	r := lib.Init(0)
	switch r {
	case api.CUDA_SUCCESS:
		return lib, nil
	case api.CUDA_ERROR_NO_DEVICE:
		return nil, fmt.Errorf("the driver is present but sees no GPU; check CUDA_VISIBLE_DEVICES (now %q) and nvidia-smi", s.Getenv("CUDA_VISIBLE_DEVICES"))
	case api.CUDA_ERROR_SYSTEM_NOT_READY:
		return nil, errors.New("the fabric manager has not finished (NVSwitch system); wait or start nvidia-fabricmanager")
	case api.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
		return nil, errors.New("driver and kernel module differ (803)")
	case api.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
		return nil, errors.New("forward-compatibility package not supported on this GPU (804)")
	case api.CUDA_ERROR_STUB_LIBRARY:
		return nil, lib.Stub()
	}
	return nil, fmt.Errorf("cuInit: %s", resultText(lib, r))
}

// describe is what the driver says of one of its GPUs.
func describe(lib *api.CUDA, ordinal int) (info Info, err error) {
	var n int32
	if r := lib.DeviceGetCount(&n); r != api.CUDA_SUCCESS {
		return info, fmt.Errorf("cuDeviceGetCount: %s", resultText(lib, r))
	}
	if ordinal < 0 || ordinal >= int(n) {
		return info, errFewer(ordinal, int(n), os.Getenv("CUDA_VISIBLE_DEVICES"))
	}
	var name, bus [64]byte
	var memory uint64
	attribute := func(id int) (v int) {
		var got int32
		if r := lib.DeviceGetAttribute(&got, id, ordinal); r != api.CUDA_SUCCESS && err == nil {
			err = fmt.Errorf("cuDeviceGetAttribute %d: %s", id, resultText(lib, r))
		}
		return int(got)
	}
	info = Info{
		Processors:   attribute(api.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
		Capability:   10*attribute(api.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) + attribute(api.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
		SharedMemory: attribute(api.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
	}
	for what, r := range map[string]api.Result{
		"cuDeviceGetName":     lib.DeviceGetName(&name[0], len(name), ordinal),
		"cuDeviceGetPCIBusId": lib.DeviceGetPCIBusId(&bus[0], len(bus), ordinal),
		"cuDeviceTotalMem":    lib.DeviceTotalMem(&memory, ordinal),
	} {
		if r != api.CUDA_SUCCESS && err == nil {
			err = fmt.Errorf("%s: %s", what, resultText(lib, r))
		}
	}
	info.Name, info.PCI, info.Memory = text(name[:]), text(bus[:]), int64(memory)
	return info, err
}

// text is what a zero ends.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
