// SPDX-License-Identifier: Apache-2.0

// What goes between processes, as over a network: a thread takes each message out of
// this rank's slots when it is filled, another one brings those of the ranks elsewhere.
// That a slot has been read follows as it does among streams: see message in enqueue.cc.

#include <string.h>
#include <unistd.h>

#include "comm.h"

namespace {

// courier is one of the two: a stream, and memory of the host that the device copies.
struct courier {
	ncclComm_t c;
	CUstream stream;
	void *pinned;

	explicit courier(ncclComm_t c) : c(c) {
		DRIVER(cuCtxSetCurrent, c->mine.context);
		DRIVER(cuStreamCreateWithPriority, &stream, CU_STREAM_NON_BLOCKING, 0);
		DRIVER(cuMemHostAlloc, &pinned, SLOT, 0);
		DRIVER(cuStreamWaitEvent, stream, c->mine.open, 0);
	}
	~courier() {
		driver().cuStreamDestroy_v2(stream);
		driver().cuMemFreeHost(pinned);
	}
	courier(const courier &) = delete;
	void wait() const { DRIVER(cuStreamSynchronize, stream); }
	bool ending() const { return c->others->ending; }
};

} // namespace

static void outgoing(ncclComm_t c) {
	const courier me(c);
	place &mine = c->of->shared->places[c->rank];
	for (uint32_t n = 0;; n++) {
		DRIVER(cuStreamWaitValue32_v2, me.stream, c->flag_of(c->rank, OUT, 0), n + 1, 0);
		me.wait();
		if (me.ending()) return;
		size_t bytes;
		{
			const std::lock_guard<std::mutex> lock(c->others->mu);
			bytes = c->others->sizes.front();
			c->others->sizes.pop_front();
		}
		if (bytes > 0) DRIVER(cuMemcpyDtoHAsync_v2, me.pinned, c->slot(c->rank, n), bytes, me.stream);
		me.wait();
		memcpy(mine.slots[n % SLOTS], me.pinned, bytes);
		mine.bytes[n % SLOTS] = bytes;
		mine.filled = n + 1;
		c->others->sent = n + 1;
	}
}

static void incoming(ncclComm_t c) {
	const courier me(c);
	for (uint32_t n = 0;; n++) {
		for (int q = 0; q < static_cast<int>(c->of->size); q++) {
			if (!c->elsewhere(q)) continue;
			const place &its = c->of->shared->places[q];
			while (static_cast<int32_t>(its.filled - (n + 1)) < 0) {
				if (me.ending()) return;
				usleep(50);
			}
			const size_t bytes = its.bytes[n % SLOTS];
			memcpy(me.pinned, its.slots[n % SLOTS], bytes);
			if (bytes > 0) DRIVER(cuMemcpyHtoDAsync_v2, c->slot(q, n), me.pinned, bytes, me.stream);
			DRIVER(cuStreamWriteValue32_v2, me.stream, c->flag_of(c->rank, READY, q), n + 1, 0);
			me.wait();
		}
	}
}

// quietly ends a thread where a call fails: the device is gone, and its streams say so.
template <class F>
static void quietly(F f, ncclComm_t c) {
	try {
		f(c);
	} catch (const failure &) {
		const std::lock_guard<std::mutex> lock(c->mu);
		if (c->failed == ncclSuccess) c->failed = ncclUnhandledCudaError;
	}
}

void open_proxy(ncclComm_t c) {
	std::vector<CUdeviceptr> mirrors(c->of->size);
	bool any = false;
	for (size_t q = 0; q < c->of->size; q++)
		if (c->elsewhere(static_cast<int>(q))) any = true, mirrors[q] = device_memory(SLOTS * SLOT);
	if (!any) return;
	c->others = std::make_unique<proxy>();
	c->others->mirrors = mirrors;
	c->others->out = std::thread([c] { quietly(outgoing, c); });
	c->others->in = std::thread([c] { quietly(incoming, c); });
}

void close_proxy(ncclComm_t c) {
	if (!c->others) return;
	DRIVER(cuEventSynchronize, c->mine.last);
	while (!c->aborted && c->failed == ncclSuccess && c->others->sent != c->calls) usleep(50); // what others still wait for
	c->others->ending = true;
	unblock(c);
	c->others->out.join();
	c->others->in.join();
	for (const CUdeviceptr p : c->others->mirrors)
		if (p) DRIVER(cuMemFree_v2, p);
}
