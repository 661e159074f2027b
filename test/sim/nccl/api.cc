// SPDX-License-Identifier: Apache-2.0

// NCCL's functions, over whatever driver there is: ranks of one process, on one device or
// on several, and of several processes of a host. Sums are made in rank order, in
// float32. A communicator that is not blocking behaves as NCCL's: what takes a peer
// returns ncclInProgress, and the communicator is not used until its state says so.

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <map>

#include "comm.h"
#include "fault.h"

static thread_local std::string last_error;

// guarded calls f and makes its failure a result.
template <class F>
static ncclResult_t guarded(F f) {
	try {
		return f();
	} catch (const failure &e) {
		last_error = e.text;
		return e.result;
	}
}

ncclResult_t ncclGetVersion(int *version) {
	const char *told = getenv("SIM_NCCL_VERSION");
	*version = told ? atoi(told) : 22809;
	return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r) {
	static const char *const texts[] = {"no error", "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
		"unhandled system error (run with NCCL_DEBUG=INFO for details)", "internal error - please report this issue to the NCCL developers",
		"invalid argument (run with NCCL_DEBUG=WARN for details)", "invalid usage (run with NCCL_DEBUG=WARN for details)",
		"remote process exited or there was a network error", "NCCL operation in progress"};
	return r >= 0 && r < 8 ? texts[r] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
	static std::atomic<unsigned> count{0};
	memset(id, 0, sizeof *id);
	snprintf(id->internal, sizeof id->internal, "octet-sim-nccl-%d-%u", getpid(), count++);
	return ncclSuccess;
}

// finished waits, where a communicator blocks, until it is not in progress.
static ncclResult_t finished(ncclComm_t c, ncclResult_t r) {
	while (c->blocking && r == ncclInProgress) {
		usleep(100);
		r = state(c);
	}
	return r;
}

static bool blocks(const ncclConfig_t *config) {
	if (!config) return true;
	if (config->size < sizeof(size_t) || config->magic != 0xcafebeef) fail(ncclInvalidArgument, "ncclConfig_t is not initialised");
	return config->blocking != 0;
}

static ncclResult_t init(ncclComm_t *out, int ranks, const ncclUniqueId &id, int rank, const ncclConfig_t *config) {
	if (ranks < 1 || rank < 0 || rank >= ranks) fail(ncclInvalidArgument, "invalid rank requested : %d/%d", rank, ranks);
	if (fault_of("init", 1, rank).kind == "initfail") fail(ncclSystemError, "Call to connect failed: Connection refused (SIM_FAULT)");
	const ncclComm_t c = new_comm(ranks, rank, blocks(config));
	sit(c, std::string(id.internal, strnlen(id.internal, sizeof id.internal)), ranks, ranks, rank);
	*out = c;
	return finished(c, ncclInProgress);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *c, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config) {
	return guarded([&] { return init(c, ranks, id, rank, config); });
}

ncclResult_t ncclCommInitRankScalable(ncclComm_t *c, int ranks, int rank, int n, ncclUniqueId *ids, ncclConfig_t *config) {
	return guarded([&] {
		if (n < 1 || n > ranks) fail(ncclInvalidArgument, "%d ids of %d ranks", n, ranks);
		return init(c, ranks, ids[0], rank, config);
	});
}

// ready fails where NCCL refuses a communicator.
static void ready(ncclComm_t c) {
	if (!c) fail(ncclInvalidArgument, "comm argument is NULL");
	if (c->aborted) fail(ncclInvalidUsage, "the communicator is aborted");
	if (!settled(c)) fail(ncclInvalidArgument, "Attempt to use communicator before the previous operation returned ncclSuccess");
}

ncclResult_t ncclCommSplit(ncclComm_t c, int color, int key, ncclComm_t *part, ncclConfig_t *config) {
	return guarded([&] {
		ready(c);
		if (color < NCCL_SPLIT_NOCOLOR) fail(ncclInvalidArgument, "color %d", color);
		if (config) blocks(config);
		divide(c, color, key, part, config && config->splitShare == 1);
		return finished(c, ncclInProgress);
	});
}

ncclResult_t ncclCommFinalize(ncclComm_t c) {
	return guarded([&] {
		ready(c);
		return ncclSuccess;
	});
}

ncclResult_t ncclCommDestroy(ncclComm_t c) {
	return guarded([&] {
		if (!c) fail(ncclInvalidArgument, "comm argument is NULL");
		{
			const std::lock_guard<std::mutex> lock(c->mu);
			if (c->shares > 0) fail(ncclInvalidUsage, "%d communicators that share this one's resources are there", c->shares);
		}
		const in_context at(c->mine.context);
		leave(c);
		delete c;
		return ncclSuccess;
	});
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *result) {
	return guarded([&] {
		*result = state(c);
		return ncclSuccess;
	});
}

ncclResult_t ncclCommCount(ncclComm_t c, int *ranks) {
	*ranks = static_cast<int>(c->of->size);
	return ncclSuccess;
}

ncclResult_t ncclCommUserRank(ncclComm_t c, int *rank) {
	*rank = c->rank;
	return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(ncclComm_t c, int *device) {
	return guarded([&] {
		DRIVER(cuPointerGetAttribute, device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, c->mine.flags);
		return ncclSuccess;
	});
}

// What a thread has called since ncclGroupStart.
static thread_local struct {
	int depth = 0;
	std::vector<operation> list;
	std::vector<ncclComm_t> aborts;
} now;

static const char *const names[] = {"all-gather", "reduce-scatter", "all-reduce", "broadcast", "send", "receive"};

// issue enqueues the calls of a group on one communicator.
static ncclResult_t issue(ncclComm_t c, std::vector<operation> list) {
	int polls = 0;
	for (size_t i = 0; i < list.size(); i++) {
		const int k = static_cast<int>(list[i].what);
		const fault f = fault_of(names[k], ++c->made[k], c->world_rank);
		if (f.kind == "inprogress") polls = f.value;
		if (f.kind != "hang" && f.kind != "lost") continue;
		list[i].what = kind::hang; // and nothing of it reaches a peer, not when an abort ends it either
		if (f.kind == "lost") {
			const std::lock_guard<std::mutex> lock(c->mu);
			c->failed = ncclRemoteError;
		}
	}
	if (polls > 0) {
		const std::lock_guard<std::mutex> lock(c->mu);
		c->polls = polls;
		c->held = std::move(list);
		return ncclInProgress;
	}
	enqueue(c, list);
	return ncclSuccess;
}

static ncclResult_t end() {
	std::vector<operation> list;
	std::vector<ncclComm_t> aborts;
	list.swap(now.list);
	aborts.swap(now.aborts);
	if (!aborts.empty()) {
		release(aborts);
		for (auto c = aborts.rbegin(); c != aborts.rend(); ++c) { // those that were split first
			const in_context at((*c)->mine.context);
			leave(*c);
			delete *c;
		}
	}
	std::vector<ncclComm_t> order;
	std::map<ncclComm_t, std::vector<operation>> by;
	for (const operation &o : list) {
		if (!by.count(o.comm)) order.push_back(o.comm);
		by[o.comm].push_back(o);
	}
	ncclResult_t result = ncclSuccess;
	for (const ncclComm_t c : order) {
		const ncclResult_t r = finished(c, issue(c, std::move(by[c])));
		if (r != ncclSuccess) result = r;
	}
	return result;
}

ncclResult_t ncclGroupStart(void) {
	now.depth++;
	return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
	return guarded([] {
		if (now.depth == 0) fail(ncclInvalidUsage, "ncclGroupEnd: not in a group call.");
		return --now.depth > 0 ? ncclSuccess : end();
	});
}

ncclResult_t ncclCommAbort(ncclComm_t c) {
	return guarded([&] {
		if (!c) fail(ncclInvalidArgument, "comm argument is NULL");
		while (fault_of("abort", 1, c->world_rank).kind == "stuck") sleep(1);
		now.aborts.push_back(c);
		return now.depth > 0 ? ncclSuccess : end();
	});
}

static CUdeviceptr address(const void *p) { return reinterpret_cast<CUdeviceptr>(p); }

static ncclResult_t call(kind what, const void *from, const void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, int peer, ncclComm_t c, cudaStream_t s) {
	return guarded([&] {
		ready(c);
		if (count > 0 && (!from || !to)) fail(ncclInvalidArgument, "%s : a buffer is NULL", names[static_cast<int>(what)]);
		if (peer < 0 || peer >= static_cast<int>(c->of->size)) fail(ncclInvalidArgument, "invalid root %d (root should be in the 0..%zu range)", peer, c->of->size);
		const bool reduces = what == kind::reduce_scatter || what == kind::all_reduce;
		if (type < ncclInt8 || type > ncclFloat8e5m2 || (reduces && type >= ncclFloat8e4m3)) fail(ncclInvalidArgument, "%s of type %d", names[static_cast<int>(what)], type);
		if (count > 0) now.list.push_back({what, address(from), address(to), count, type, op, peer, c, reinterpret_cast<CUstream>(s)});
		return now.depth > 0 ? ncclSuccess : end();
	});
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t c, cudaStream_t s) {
	return call(kind::all_gather, send, recv, count, type, ncclSum, 0, c, s);
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c, cudaStream_t s) {
	return call(kind::reduce_scatter, send, recv, count, type, op, 0, c, s);
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c, cudaStream_t s) {
	return call(kind::all_reduce, send, recv, count, type, op, 0, c, s);
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type, int root, ncclComm_t c, cudaStream_t s) {
	return call(kind::broadcast, send, recv, count, type, ncclSum, root, c, s);
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t s) {
	return call(kind::send, send, send, count, type, ncclSum, peer, c, s);
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t s) {
	return call(kind::receive, recv, recv, count, type, ncclSum, peer, c, s);
}

// What octet calls later, if at all: memory that is registered, and groups that shrink.
ncclResult_t ncclCommShrink(ncclComm_t, int *, int, ncclComm_t *, ncclConfig_t *, int) { return ncclInvalidUsage; }
ncclResult_t ncclCommRevoke(ncclComm_t, int) { return ncclInvalidUsage; }
ncclResult_t ncclMemAlloc(void **, size_t) { return ncclInvalidUsage; }
ncclResult_t ncclMemFree(void *) { return ncclInvalidUsage; }
ncclResult_t ncclCommRegister(ncclComm_t, void *, size_t, void **) { return ncclInvalidUsage; }
ncclResult_t ncclCommDeregister(ncclComm_t, void *) { return ncclInvalidUsage; }
ncclResult_t ncclCommWindowRegister(ncclComm_t, void *, size_t, ncclWindow_t *, int) { return ncclInvalidUsage; }
ncclResult_t ncclCommWindowDeregister(ncclComm_t, ncclWindow_t) { return ncclInvalidUsage; }
