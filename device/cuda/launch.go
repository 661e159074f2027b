// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

/*
#cgo CFLAGS: -I${SRCDIR}/api
#include "api.h"

#cgo noescape octet_launch
#cgo nocallback octet_launch

// octet_launch launches a kernel; an argument is sixteen bytes, of which the kernel reads
// what it declares. The driver has copied them when it returns.
static int octet_launch(const octet_cuda *t, uintptr_t context, uintptr_t function, uint32_t grid, uint32_t block, uint32_t shared, uintptr_t stream,
                        const uint64_t *args, int n) {
	void *params[32];
	for (int i = 0; i < n; i++) params[i] = (void *)(args + 2 * i);
	CUlaunchConfig config = {grid, 1, 1, block, 1, 1, shared, (CUstream)stream, NULL, 0};
	CUresult entered = octet_enter(t, context);
	if (entered != CUDA_SUCCESS) return entered;
	return t->cuLaunchKernelEx(&config, (CUfunction)function, params, NULL);
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"octet/device/cuda/api"
)

// plainShared is the shared memory that a block may have without asking for it, 48 KiB, less what
// kernels declare.
const plainShared = 48<<10 - declaredShared

// launch enqueues a kernel.
func (s *Stream) launch(l *launch) {
	s.usable()
	d := s.dev
	if l.shared > plainShared && !d.wide[l.kernel].Swap(true) {
		s.check(d.cuda.FuncSetAttribute(d.functions[l.kernel], api.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, mostShared),
			func() string { return "cuFuncSetAttribute " + l.kernel.String() })
	}
	r := api.Result(C.octet_launch((*C.octet_cuda)(d.cuda.Table()), C.uintptr_t(d.context), C.uintptr_t(d.functions[l.kernel]), C.uint32_t(l.grid), C.uint32_t(l.block),
		C.uint32_t(l.shared), C.uintptr_t(s.handle), (*C.uint64_t)(unsafe.Pointer(&l.args[0])), C.int(l.n)))
	if d.trace != nil {
		d.trace.line("cuLaunchKernelEx "+l.kernel.String(), int(r), l.grid, l.block, l.shared, s.name)
	}
	if r != api.CUDA_SUCCESS || d.sync {
		s.check(r, func() string { return fmt.Sprintf("cuLaunchKernelEx %v (grid %d×1×1)", l.kernel, l.grid) })
	}
	if l.kernel == kCheckIDs {
		s.checked = true
	}
}
