// SPDX-License-Identifier: Apache-2.0

#include "comm.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

static CUdeviceptr memory(size_t bytes) {
	CUdeviceptr p;
	DRIVER(cuMemAlloc_v2, &p, bytes);
	return p;
}

static CUevent event() {
	CUevent e;
	DRIVER(cuEventCreate, &e, CU_EVENT_DISABLE_TIMING);
	return e;
}

ncclComm_t new_comm(size_t width, int world_rank, bool blocking) {
	auto c = std::make_unique<ncclComm_t_st>();
	c->world_rank = world_rank;
	c->blocking = blocking;
	DRIVER(cuCtxGetCurrent, &c->mine.context);
	if (!c->mine.context) fail(ncclInvalidUsage, "no context is current on this thread");
	c->mine.slots = memory(SLOTS * SLOT);
	c->mine.pairs = memory(width * PAIR_SLOTS * PAIR);
	c->mine.flags = memory(4 * FLAGS * width);
	c->gathered = memory(SLOT);
	c->reduce = reduce_kernel();
	DRIVER(cuStreamCreateWithPriority, &c->side, CU_STREAM_NON_BLOCKING, 0);
	c->mine.open = event();
	c->mine.last = event();
	DRIVER(cuMemsetD32Async, c->mine.flags, 0, FLAGS * width, c->side);
	DRIVER(cuEventRecord, c->mine.open, c->side);
	DRIVER(cuEventRecord, c->mine.last, c->side);
	c->last_stream = c->side;
	return c.release();
}

void sit(ncclComm_t c, const std::shared_ptr<group> &g, int rank) {
	c->of = g;
	c->rank = rank;
	c->sent.assign(g->size, 0);
	c->received.assign(g->size, 0);
	g->seats[rank] = c->mine;
	g->joined++;
}

void leave(ncclComm_t c) {
	DRIVER(cuEventSynchronize, c->mine.last);
	DRIVER(cuStreamDestroy_v2, c->side);
	DRIVER(cuMemFree_v2, c->gathered);
	if (c->parent) {
		const std::lock_guard<std::mutex> lock(c->parent->mu);
		c->parent->shares--;
	}
	const std::lock_guard<std::mutex> lock(c->of->mu);
	if (++c->of->left < c->of->joined) return;
	for (const seat &s : c->of->seats) {
		if (!s.context) continue;
		const in_context at(s.context);
		for (const seat &other : c->of->seats) // they read this one's slots until their last call
			if (other.context) DRIVER(cuEventSynchronize, other.last);
		for (const CUdeviceptr p : {s.slots, s.pairs, s.flags}) DRIVER(cuMemFree_v2, p);
	}
	for (const seat &s : c->of->seats) {
		if (!s.context) continue;
		const in_context at(s.context);
		for (const CUevent e : {s.open, s.last}) DRIVER(cuEventDestroy_v2, e);
	}
}

// Values count messages and wrap around; whoever waits takes any that is ahead. One
// that is this far ahead serves every wait there is.
constexpr uint32_t AHEAD = 1u << 30;

static void unblock(ncclComm_t c) {
	const in_context at(c->mine.context);
	for (size_t q = 0; q < c->of->size; q++) {
		const uint32_t values[FLAGS] = {c->calls, c->received[q], c->sent[q], 0};
		for (int f = 0; f < FLAGS; f++)
			DRIVER(cuStreamWriteValue32_v2, c->side, c->flag_of(c->rank, static_cast<flag>(f), static_cast<int>(q)), values[f] + AHEAD, 0);
	}
	DRIVER(cuStreamSynchronize, c->side);
}

void release(const std::vector<ncclComm_t> &all) {
	std::atomic<size_t> waiting{0};
	std::vector<std::thread> threads;
	std::vector<ncclComm_t> open;
	for (const ncclComm_t c : all) {
		c->aborted = true;
		{
			const std::lock_guard<std::mutex> lock(c->mu);
			c->held.clear();
		}
		if (!c->opened) continue; // it has made no call
		open.push_back(c);
		waiting++;
		threads.emplace_back([c, &waiting] {
			driver().cuCtxSetCurrent(c->mine.context);
			driver().cuEventSynchronize(c->mine.last);
			waiting--;
		});
	}
	// Peers that are not aborted yet go on writing what they have counted.
	while (waiting > 0) {
		for (const ncclComm_t c : open) unblock(c);
		usleep(200);
	}
	for (std::thread &t : threads) t.join();
}

void divide(ncclComm_t c, int color, int key, ncclComm_t *to, bool share) {
	*to = nullptr;
	split::part p;
	p.color = color, p.key = key, p.rank = c->rank, p.to = to;
	if (color != NCCL_SPLIT_NOCOLOR) {
		p.comm = new_comm(c->of->size, c->world_rank, c->blocking);
		const std::lock_guard<std::mutex> lock(c->mu);
		if (share) p.comm->parent = c, c->shares++;
	}
	const std::lock_guard<std::mutex> lock(c->of->mu);
	const size_t n = c->splits++;
	while (c->of->splits.size() <= n) c->of->splits.push_back(std::make_shared<split>());
	const std::shared_ptr<split> s = c->of->splits[n];
	{
		const std::lock_guard<std::mutex> mine(c->mu);
		c->splitting = s;
	}
	s->parts.push_back(p);
	if (s->parts.size() < c->of->size) return;
	std::sort(s->parts.begin(), s->parts.end(), [](const split::part &a, const split::part &b) {
		return std::tie(a.color, a.key, a.rank) < std::tie(b.color, b.key, b.rank);
	});
	for (size_t from = 0, end; from < s->parts.size(); from = end) {
		for (end = from; end < s->parts.size() && s->parts[end].color == s->parts[from].color;) end++;
		if (s->parts[from].color == NCCL_SPLIT_NOCOLOR) continue;
		const auto g = std::make_shared<group>();
		g->size = end - from;
		g->width = c->of->size;
		g->seats.resize(g->size);
		for (size_t i = from; i < end; i++) sit(s->parts[i].comm, g, static_cast<int>(i - from));
		for (size_t i = from; i < end; i++) *s->parts[i].to = s->parts[i].comm;
	}
	s->done = true;
}

ncclResult_t state(ncclComm_t c) {
	std::vector<operation> now;
	{
		const std::lock_guard<std::mutex> group_lock(c->of->mu);
		const std::lock_guard<std::mutex> lock(c->mu);
		if (c->failed != ncclSuccess) return c->failed;
		if (c->of->joined < c->of->size) return ncclInProgress;
		if (c->splitting && !c->splitting->done) return ncclInProgress;
		c->splitting = nullptr;
		if (c->polls > 0 && --c->polls > 0) return ncclInProgress;
		now.swap(c->held);
	}
	if (!now.empty()) {
		const in_context at(c->mine.context);
		enqueue(c, now);
	}
	return ncclSuccess;
}
