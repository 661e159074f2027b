// SPDX-License-Identifier: Apache-2.0

// What must be one call of C: a group of NCCL's, which belongs to a thread, and what
// NCCL's own threads write to.

#pragma once

#include <stdint.h>

#include "api.h"

// octet_list is a collective over tensors: for each of them addresses, elements and a type.
typedef struct {
	const uint64_t *send, *recv;
	const size_t *count;
	const int32_t *type;
	int n;
} octet_list;

// octet_result is what NCCL answered: the result, and the call whose it is.
typedef struct {
	ncclResult_t result;
	const char *call;
} octet_result;

// The kinds of a collective, those of comm.Kind.
enum { octet_all_gather, octet_reduce_scatter, octet_all_reduce, octet_broadcast, octet_all_to_all, octet_barrier };

// octet_collective enqueues a list as one group. The result is ncclInProgress while
// the work may not be in the stream yet.
octet_result octet_collective(const octet_nccl *t, ncclComm_t c, uintptr_t stream, int kind, int op, int root, int ranks, octet_list l);

// octet_handle is a communicator that NCCL may write from a thread of its own, when it
// has been made: memory of C.
typedef struct {
	ncclComm_t comm;
} octet_handle;

octet_handle *octet_handle_new(void);
void octet_handle_free(octet_handle *h);

// octet_init begins a communicator of so many ranks, octet_split one of a parent's ranks.
ncclResult_t octet_init(const octet_nccl *t, octet_handle *h, int ranks, int rank, const ncclUniqueId *ids, int n);
ncclResult_t octet_split(const octet_nccl *t, uintptr_t parent, int color, int key, octet_handle *h);

// octet_abort aborts communicators together: one alone may wait for another.
ncclResult_t octet_abort(const octet_nccl *t, const uintptr_t *comms, int n);

// octet_guard ends the process after so many nanoseconds, whatever Go does, unless it is
// disarmed before.
typedef struct octet_guard octet_guard;
octet_guard *octet_guard_arm(int64_t ns);
void octet_guard_disarm(octet_guard *g);
