// SPDX-License-Identifier: Apache-2.0

#include "glue.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const int sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1}; // bytes, by ncclDataType_t

static octet_result all_to_all(const octet_nccl *t, ncclComm_t c, cudaStream_t s, int ranks, octet_list l, int i) {
	const size_t part = l.count[i] / ranks, bytes = part * sizes[l.type[i]];
	for (int q = 0; q < ranks; q++) {
		ncclResult_t r = t->ncclSend((const void *)(l.send[i] + q * bytes), part, l.type[i], q, c, s);
		if (r != ncclSuccess) return (octet_result){r, "ncclSend"};
		r = t->ncclRecv((void *)(l.recv[i] + q * bytes), part, l.type[i], q, c, s);
		if (r != ncclSuccess) return (octet_result){r, "ncclRecv"};
	}
	return (octet_result){ncclSuccess, NULL};
}

static octet_result one(const octet_nccl *t, ncclComm_t c, cudaStream_t s, int kind, int op, int root, int ranks, octet_list l, int i) {
	const void *send = (const void *)l.send[i];
	void *recv = (void *)l.recv[i];
	switch (kind) {
	case octet_all_gather: return (octet_result){t->ncclAllGather(send, recv, l.count[i], l.type[i], c, s), "ncclAllGather"};
	case octet_reduce_scatter: return (octet_result){t->ncclReduceScatter(send, recv, l.count[i] / ranks, l.type[i], op, c, s), "ncclReduceScatter"};
	case octet_all_to_all: return all_to_all(t, c, s, ranks, l, i);
	case octet_broadcast: return (octet_result){t->ncclBroadcast(send, recv, l.count[i], l.type[i], root, c, s), "ncclBroadcast"};
	default: return (octet_result){t->ncclAllReduce(send, recv, l.count[i], l.type[i], op, c, s), "ncclAllReduce"};
	}
}

octet_result octet_collective(const octet_nccl *t, ncclComm_t c, uintptr_t stream, int kind, int op, int root, int ranks, octet_list l) {
	octet_result r = {t->ncclGroupStart(), "ncclGroupStart"};
	if (r.result != ncclSuccess) return r;
	for (int i = 0; i < l.n && (r.result == ncclSuccess || r.result == ncclInProgress); i++)
		if (l.count[i] > 0) r = one(t, c, (cudaStream_t)stream, kind, op, root, ranks, l, i);
	const ncclResult_t ended = t->ncclGroupEnd();
	if (r.result != ncclSuccess && r.result != ncclInProgress) return r;
	if (ended != ncclSuccess && ended != ncclInProgress) return (octet_result){ended, "ncclGroupEnd"};
	ncclResult_t state = ncclSuccess;
	r = (octet_result){t->ncclCommGetAsyncError(c, &state), "ncclCommGetAsyncError"};
	if (r.result == ncclSuccess) r.result = state;
	return r;
}

octet_handle *octet_handle_new(void) { return calloc(1, sizeof(octet_handle)); }
void octet_handle_free(octet_handle *h) { free(h); }

// config is the fields that every version from 2.17 on has; the library takes as many
// bytes as it is told, and its own values for the rest.
static ncclConfig_t config(void) {
	return (ncclConfig_t){.size = sizeof(ncclConfig_t), .magic = 0xcafebeef, .version = 21700, .blocking = 0, .cgaClusterSize = INT_MIN,
		.minCTAs = INT_MIN, .maxCTAs = INT_MIN, .netName = NULL, .splitShare = 1};
}

ncclResult_t octet_init(const octet_nccl *t, octet_handle *h, int ranks, int rank, const ncclUniqueId *ids, int n) {
	ncclConfig_t c = config();
	if (n == 1) return t->ncclCommInitRankConfig(&h->comm, ranks, ids[0], rank, &c);
	return t->ncclCommInitRankScalable(&h->comm, ranks, rank, n, (ncclUniqueId *)ids, &c);
}

ncclResult_t octet_split(const octet_nccl *t, uintptr_t parent, int color, int key, octet_handle *h) {
	ncclConfig_t c = config();
	return t->ncclCommSplit((ncclComm_t)parent, color, key, &h->comm, &c);
}

ncclResult_t octet_abort(const octet_nccl *t, const uintptr_t *comms, int n) {
	ncclResult_t first = t->ncclGroupStart();
	if (first != ncclSuccess) return first;
	for (int i = 0; i < n; i++) {
		const ncclResult_t r = t->ncclCommAbort((ncclComm_t)comms[i]);
		if (first == ncclSuccess && r != ncclInProgress) first = r;
	}
	const ncclResult_t r = t->ncclGroupEnd();
	return first == ncclSuccess && r != ncclInProgress ? r : first;
}

struct octet_guard {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	pthread_t thread;
	struct timespec end;
	int disarmed;
};

static void *watch(void *arg) {
	octet_guard *g = arg;
	pthread_mutex_lock(&g->mu);
	while (!g->disarmed)
		if (pthread_cond_timedwait(&g->cond, &g->mu, &g->end) != 0 && !g->disarmed) _exit(1);
	pthread_mutex_unlock(&g->mu);
	return NULL;
}

octet_guard *octet_guard_arm(int64_t ns) {
	octet_guard *g = calloc(1, sizeof *g);
	if (!g) _exit(1);
	pthread_mutex_init(&g->mu, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->cond, &attr);
	pthread_condattr_destroy(&attr);
	clock_gettime(CLOCK_MONOTONIC, &g->end);
	ns += g->end.tv_nsec;
	g->end.tv_sec += ns / 1000000000;
	g->end.tv_nsec = ns % 1000000000;
	if (pthread_create(&g->thread, NULL, watch, g) != 0) _exit(1);
	return g;
}

void octet_guard_disarm(octet_guard *g) {
	pthread_mutex_lock(&g->mu);
	g->disarmed = 1;
	pthread_cond_signal(&g->cond);
	pthread_mutex_unlock(&g->mu);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->cond);
	pthread_mutex_destroy(&g->mu);
	free(g);
}
