// SPDX-License-Identifier: Apache-2.0

// A communicator: the ranks of a group, in this process and in others, and what each shows
// those of its process in device memory.

#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "board.h"
#include "driver.h"

// Flags are words in a rank's memory that it waits for: READY, one for each rank, which
// writes there how many messages it has filled; OUT, how many this rank has; HANG is
// written by nobody.
enum flag { READY, OUT, HANG, FLAGS };

// seat is what a rank shows the others of its process.
struct seat {
	CUcontext context = nullptr; // nullptr: the rank is another process's
	CUdeviceptr slots = 0, flags = 0;
	CUevent open = nullptr, last = nullptr; // flags are there; the rank's last call
};

// group is what the ranks of a communicator in one process have together.
struct group {
	std::mutex mu;
	std::string name;
	size_t size = 0, width = 0; // ranks, and those that flags have room for
	std::vector<seat> seats;
	size_t joined = 0, left = 0; // of this process
	std::unique_ptr<board> shared;
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

// proxy takes messages to and from the ranks of other processes.
struct proxy {
	std::thread out, in;
	std::atomic<bool> ending{false};
	std::atomic<uint32_t> sent{0};
	std::mutex mu;
	std::deque<size_t> sizes; // bytes of the messages that are to go
	std::vector<CUdeviceptr> mirrors; // of the slots of ranks elsewhere, by rank
};

struct ncclComm_t_st {
	std::shared_ptr<group> of;
	int rank = 0, world_rank = 0;
	seat mine;
	CUdeviceptr gathered = 0; // what a reduction reads, by rank
	CUfunction reduce = nullptr;
	CUstream side = nullptr; // of aborts
	bool blocking = true, opened = false, aborted = false;

	CUstream last_stream = nullptr;
	uint32_t calls = 0; // messages so far
	int made[6] = {};   // calls of each kind
	std::unique_ptr<proxy> others;

	std::mutex mu; // of what follows: polls come from any thread
	ncclResult_t failed = ncclSuccess;
	ncclComm_t part = nullptr;      // that a split is making
	ncclComm_t *part_to = nullptr;  // where to put it
	bool splitting = false;
	uint32_t splits = 0;
	int shares = 0; // communicators split from this one
	ncclComm_t parent = nullptr;
	int polls = 0;
	std::vector<operation> held; // until polls are over

	bool elsewhere(int q) const { return !of->seats[q].context; }
	CUdeviceptr flag_of(int q, flag f, int writer) const { return of->seats[q].flags + 4 * (static_cast<size_t>(f) * of->width + writer); }
	CUdeviceptr slot(int q, uint32_t n) const { return (elsewhere(q) ? others->mirrors[q] : of->seats[q].slots) + n % SLOTS * SLOT; }
};

// new_comm makes a rank's communicator for at most so many ranks, in no group yet.
ncclComm_t new_comm(size_t width, int world_rank, bool blocking);

// sit gives a communicator its place in the group of that name.
void sit(ncclComm_t c, const std::string &name, size_t size, size_t width, int rank);

// leave ends a communicator. The last of a group in this process frees what all had.
void leave(ncclComm_t c);

// release ends what waits in the streams of communicators that are aborted.
void release(const std::vector<ncclComm_t> &all);

// divide takes a rank's part in a split.
void divide(ncclComm_t c, int color, int key, ncclComm_t *to, bool share);

// settled reports whether NCCL would let a communicator be used.
bool settled(ncclComm_t c);

// state is the communicator's asynchronous state.
ncclResult_t state(ncclComm_t c);

// enqueue puts calls, in their order, into their streams.
void enqueue(ncclComm_t c, const std::vector<operation> &list);

// open_proxy starts what goes between processes, where there are several; close_proxy
// ends it.
void open_proxy(ncclComm_t c);
void close_proxy(ncclComm_t c);

// unblock lets go of whatever waits for this rank's flags.
void unblock(ncclComm_t c);

CUdeviceptr device_memory(size_t bytes);
