// SPDX-License-Identifier: Apache-2.0

// Of libcuda: what its results are called.

#include "exports_cuda.h"

static const struct {
	CUresult result;
	const char *name, *text;
} known[] = {
#define R(name, text) {name, #name, text}
	R(CUDA_SUCCESS, "no error"),
	R(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
	R(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
	R(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
	R(CUDA_ERROR_STUB_LIBRARY, "CUDA driver is a stub library"),
	R(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
	R(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
	R(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
	R(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
	R(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
	R(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
	R(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain."),
	R(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
	R(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
	R(CUDA_ERROR_NOT_READY, "device not ready"),
	R(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
	R(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
	R(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
	R(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
	R(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
	R(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
	R(CUDA_ERROR_STREAM_CAPTURE_MERGE, "operation would result in a merge of separate capture sequences"),
	R(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"),
	R(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
	R(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
	R(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
	R(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "attempt to terminate a thread-local capture sequence from another thread"),
	R(CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized"),
	R(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver combination"),
	R(CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, "forward compatibility was attempted on non supported HW"),
	R(CUDA_ERROR_UNKNOWN, "unknown error"),
#undef R
};

CUresult cuGetErrorName(CUresult r, const char **text) {
	for (const auto &k : known)
		if (k.result == r) return *text = k.name, CUDA_SUCCESS;
	return *text = nullptr, CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGetErrorString(CUresult r, const char **text) {
	for (const auto &k : known)
		if (k.result == r) return *text = k.text, CUDA_SUCCESS;
	return *text = nullptr, CUDA_ERROR_INVALID_VALUE;
}
