// SPDX-License-Identifier: Apache-2.0

#include "comm.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <tuple>

CUdeviceptr device_memory(size_t bytes) {
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
	c->mine.slots = device_memory(SLOTS * SLOT);
	c->mine.flags = device_memory(4 * FLAGS * width);
	c->gathered = device_memory(SLOT);
	c->reduce = reduce_kernel();
	DRIVER(cuStreamCreateWithPriority, &c->side, CU_STREAM_NON_BLOCKING, 0);
	c->mine.open = event();
	c->mine.last = event();
	DRIVER(cuMemsetD32Async, c->mine.flags, 0, FLAGS * width, c->side);
	DRIVER(cuEventRecord, c->mine.open, c->side);
	DRIVER(cuEventRecord, c->mine.last, c->side);
	DRIVER(cuStreamSynchronize, c->side);
	c->last_stream = c->side;
	return c.release();
}

void sit(ncclComm_t c, const std::string &name, size_t size, size_t width, int rank) {
	static std::mutex mu;
	static std::map<std::string, std::weak_ptr<group>> groups;
	const std::lock_guard<std::mutex> lock(mu);
	std::shared_ptr<group> g = groups[name].lock();
	if (!g) {
		g = std::make_shared<group>();
		g->name = name;
		g->size = size;
		g->width = width;
		g->seats.resize(size);
		g->shared = std::make_unique<board>(name, size);
		groups[name] = g;
	}
	if (g->size != size) fail(ncclInvalidArgument, "rank %d has %zu ranks, another %zu", rank, size, g->size);
	const std::lock_guard<std::mutex> joining(g->mu);
	c->of = g;
	c->rank = rank;
	g->seats[rank] = c->mine;
	g->joined++;
	g->shared->places[rank].process = static_cast<uint32_t>(getpid());
}

void leave(ncclComm_t c) {
	close_proxy(c);
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
		for (const CUdeviceptr p : {s.slots, s.flags}) DRIVER(cuMemFree_v2, p);
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

void unblock(ncclComm_t c) {
	const in_context at(c->mine.context);
	for (size_t q = 0; q < c->of->width; q++)
		for (const flag f : {READY, OUT, HANG})
			DRIVER(cuStreamWriteValue32_v2, c->side, c->flag_of(c->rank, f, static_cast<int>(q)), c->calls + AHEAD, 0);
	DRIVER(cuStreamSynchronize, c->side);
}

void release(const std::vector<ncclComm_t> &all) {
	std::atomic<size_t> waiting{0};
	std::vector<std::thread> threads;
	std::vector<ncclComm_t> open;
	for (const ncclComm_t c : all) {
		c->aborted = true;
		if (c->others) c->others->ending = true;
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
		for (const ncclComm_t c : open) {
			try {
				unblock(c);
			} catch (const failure &) { // the device is gone, and with it what waited there
			}
		}
		usleep(200);
	}
	for (std::thread &t : threads) t.join();
}

void divide(ncclComm_t c, int color, int key, ncclComm_t *to, bool share) {
	if (c->splits == SPLITS) fail(ncclInvalidUsage, "the simulator makes %u splits of a communicator", SPLITS);
	*to = nullptr;
	ncclComm_t part = nullptr;
	if (color != NCCL_SPLIT_NOCOLOR) {
		part = new_comm(c->of->size, c->world_rank, c->blocking);
		if (share) part->parent = c;
	}
	const std::lock_guard<std::mutex> lock(c->mu);
	if (part && share) c->shares++;
	c->part = part, c->part_to = to, c->splitting = true;
	place &mine = c->of->shared->places[c->rank];
	mine.split[c->splits].color = color;
	mine.split[c->splits].key = key;
	mine.splits = ++c->splits;
}

// divided ends the split that c takes part in once all ranks do.
static bool divided(ncclComm_t c) {
	const place *places = c->of->shared->places;
	const uint32_t n = c->splits - 1;
	for (size_t q = 0; q < c->of->size; q++)
		if (places[q].splits < c->splits) return false;
	c->splitting = false;
	if (!c->part) return true;
	const int color = places[c->rank].split[n].color;
	std::vector<std::tuple<int, int>> members; // keys and ranks
	for (size_t q = 0; q < c->of->size; q++)
		if (places[q].split[n].color == color) members.emplace_back(places[q].split[n].key, static_cast<int>(q));
	std::sort(members.begin(), members.end());
	const auto mine = std::find(members.begin(), members.end(), std::make_tuple(places[c->rank].split[n].key, c->rank));
	sit(c->part, c->of->name + "-" + std::to_string(n) + "-" + std::to_string(color), members.size(), c->of->size, static_cast<int>(mine - members.begin()));
	*c->part_to = c->part;
	c->part = nullptr;
	return true;
}

bool settled(ncclComm_t c) {
	const std::lock_guard<std::mutex> lock(c->mu);
	return c->of->shared->joined() && !c->splitting && c->polls == 0;
}

ncclResult_t state(ncclComm_t c) {
	std::vector<operation> now;
	{
		const std::lock_guard<std::mutex> lock(c->mu);
		if (c->failed != ncclSuccess) return c->failed;
		if (!c->of->shared->joined()) return ncclInProgress;
		if (c->splitting && !divided(c)) return ncclInProgress;
		if (c->polls > 0 && --c->polls > 0) return ncclInProgress;
		now.swap(c->held);
	}
	if (!now.empty()) {
		const in_context at(c->mine.context);
		enqueue(c, now);
	}
	return ncclSuccess;
}
