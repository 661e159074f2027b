// SPDX-License-Identifier: Apache-2.0

// A communicator: the ranks of one process, and what each shows the others in device
// memory.

#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "driver.h"

// Staging: a rank has SLOTS slots that all others read, and for each of them PAIR_SLOTS
// smaller ones.
constexpr uint32_t SLOTS = 2, PAIR_SLOTS = 2;
constexpr size_t SLOT = 4 << 20, PAIR = 256 << 10;

// Flags are words in a rank's memory that it waits for, one for each rank that writes
// there: how many messages are in that one's slots, how many are in those for this rank,
// and how many of this rank's that one has read from these. HANG is written by nobody.
enum flag { READY, PAIR_READY, PAIR_READ, HANG, FLAGS };

// seat is what a rank shows the others.
struct seat {
	CUcontext context = nullptr;
	CUdeviceptr slots = 0, pairs = 0, flags = 0;
	CUevent open = nullptr, last = nullptr; // flags are there; the rank's last call
};

// split is a call of ncclCommSplit that not all ranks have made.
struct split {
	struct part {
		ncclComm_t comm = nullptr;
		int color = 0, key = 0, rank = 0;
		ncclComm_t *to = nullptr;
	};
	std::vector<part> parts;
	bool done = false;
};

// group is what the ranks of a communicator have together.
struct group {
	std::mutex mu;
	size_t size = 0, width = 0; // ranks, and those that flags have room for
	std::vector<seat> seats;
	size_t joined = 0, left = 0;
	std::vector<std::shared_ptr<split>> splits;
};

enum class kind { all_gather, reduce_scatter, all_reduce, broadcast, send, receive, hang };

struct operation {
	kind what;
	CUdeviceptr from, to;
	size_t count;
	ncclDataType_t type;
	ncclRedOp_t op;
	int peer; // or root
	ncclComm_t comm;
	CUstream stream;
};

struct ncclComm_t_st {
	std::shared_ptr<group> of;
	int rank = 0, world_rank = 0;
	seat mine;
	CUdeviceptr gathered = 0; // what a reduction reads, by rank
	CUfunction reduce = nullptr;
	CUstream side = nullptr; // of aborts
	bool blocking = true, opened = false, aborted = false;
	std::string error;

	CUstream last_stream = nullptr;
	uint32_t calls = 0;                  // messages so far
	std::vector<uint32_t> sent, received; // and in pairs, by rank
	int made[6] = {};                    // calls of each kind

	std::mutex mu; // of what follows: polls come from any thread
	ncclResult_t failed = ncclSuccess;
	std::shared_ptr<split> splitting;
	size_t splits = 0;
	int shares = 0; // communicators split from this one
	ncclComm_t parent = nullptr;
	int polls = 0;
	std::vector<operation> held; // until polls are over

	CUdeviceptr flag_of(int rank, flag f, int writer) const {
		return of->seats[rank].flags + 4 * (static_cast<size_t>(f) * of->width + writer);
	}
};

// new_comm makes a rank's communicator for at most so many ranks, in no group yet.
ncclComm_t new_comm(size_t width, int world_rank, bool blocking);

// sit gives a communicator its place in a group.
void sit(ncclComm_t c, const std::shared_ptr<group> &g, int rank);

// leave ends a communicator. The last of a group frees what all had.
void leave(ncclComm_t c);

// release ends what waits in the streams of communicators that are aborted.
void release(const std::vector<ncclComm_t> &all);

// divide takes a rank's part in a split.
void divide(ncclComm_t c, int color, int key, ncclComm_t *to, bool share);

// state is the communicator's asynchronous state.
ncclResult_t state(ncclComm_t c);

// enqueue puts calls, in their order, into their streams.
void enqueue(ncclComm_t c, const std::vector<operation> &list);
