// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

/*
#cgo CFLAGS: -I${SRCDIR}/../device/cuda/api -Wall -Wextra -Werror
#cgo LDFLAGS: -lpthread
#include "glue.h"
#cgo noescape octet_collective
#cgo nocallback octet_collective
*/
import "C"

import (
	"time"
	"unsafe"

	"octet/comm"
	"octet/device/cuda/api"
	"octet/dtype"
)

// idBytes is the size of an ncclUniqueId.
const idBytes = C.sizeof_ncclUniqueId

// uniqueID writes an ncclUniqueId.
func uniqueID(lib *api.NCCL, id []byte) api.NCCLResult {
	return lib.GetUniqueId(unsafe.Pointer(&id[0]))
}

func table(lib *api.NCCL) *C.octet_nccl { return (*C.octet_nccl)(lib.Table()) }

// handle is where NCCL puts a communicator: memory of C, which its threads may write.
type handle struct{ at *C.octet_handle }

func newHandle() handle { return handle{C.octet_handle_new()} }

func (h handle) free() { C.octet_handle_free(h.at) }

// comm is the communicator; 0: there is none yet.
func (h handle) comm() uintptr { return uintptr(unsafe.Pointer(h.at.comm)) }

// init begins a communicator of all ranks.
func (h handle) init(lib *api.NCCL, ranks, rank int, ids []byte) api.NCCLResult {
	return api.NCCLResult(C.octet_init(table(lib), h.at, C.int(ranks), C.int(rank), (*C.ncclUniqueId)(unsafe.Pointer(&ids[0])), C.int(len(ids)/idBytes)))
}

// split begins one of some ranks of a parent.
func (h handle) split(lib *api.NCCL, parent uintptr, color, key int) api.NCCLResult {
	return api.NCCLResult(C.octet_split(table(lib), C.uintptr_t(parent), C.int(color), C.int(key), h.at))
}

// list is the tensors of a collective as C takes them.
type list struct {
	send, recv []uint64
	count      []uint
	types      []int32
}

func (l *list) clear() {
	l.send, l.recv, l.count, l.types = l.send[:0], l.recv[:0], l.count[:0], l.types[:0]
}

// add enters one; send's elements are counted.
func (l *list) add(send, recv uintptr, count int, t dtype.Type) {
	l.send, l.recv = append(l.send, uint64(send)), append(l.recv, uint64(recv))
	l.count, l.types = append(l.count, uint(count)), append(l.types, typeOf(t))
}

// typeOf is NCCL's type. What is only moved may be bytes: float8 needs no version of
// NCCL then, and no architecture.
func typeOf(t dtype.Type) int32 {
	switch t {
	case dtype.Float32:
		return C.ncclFloat32
	case dtype.BFloat16:
		return C.ncclBfloat16
	case dtype.Int32:
		return C.ncclInt32
	}
	return C.ncclUint8
}

func opOf(op comm.Op) C.int {
	if op == comm.Max {
		return C.ncclMax
	}
	return C.ncclSum
}

// enqueue puts a collective into a queue, and returns what NCCL answered, to which call.
func (h handle) enqueue(lib *api.NCCL, queue uintptr, sig *comm.Call, ranks int, l *list) (call string, r api.NCCLResult) {
	res := C.octet_collective(table(lib), h.at.comm, C.uintptr_t(queue), C.int(sig.Kind), opOf(sig.Op), C.int(sig.Root), C.int(ranks), C.octet_list{
		send: (*C.uint64_t)(unsafe.SliceData(l.send)), recv: (*C.uint64_t)(unsafe.SliceData(l.recv)),
		count: (*C.size_t)(unsafe.Pointer(unsafe.SliceData(l.count))), _type: (*C.int32_t)(unsafe.SliceData(l.types)), n: C.int(len(l.send)),
	})
	if res.result == C.ncclSuccess || res.result == C.ncclInProgress {
		return "", api.NCCLResult(res.result)
	}
	return C.GoString(res.call), api.NCCLResult(res.result)
}

// abortAll aborts communicators; it may never return.
func abortAll(lib *api.NCCL, comms []uintptr) api.NCCLResult {
	if len(comms) == 0 {
		return api.NCCLSuccess
	}
	return api.NCCLResult(C.octet_abort(table(lib), (*C.uintptr_t)(unsafe.Pointer(&comms[0])), C.int(len(comms))))
}

// guard ends the process unless it is disarmed in time; an abort that does not end
// leaves it armed.
type guard struct{ at *C.octet_guard }

func armGuard(d time.Duration) guard { return guard{C.octet_guard_arm(C.int64_t(d))} }
func (g guard) disarm()              { C.octet_guard_disarm(g.at) }
