// SPDX-License-Identifier: Apache-2.0

// The simulated machine: devices with memory, streams of operations, and what is known of
// their order. One lock guards all of it; kernels and copies run outside.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "exports_cuda.h"
#include "sim.h"

namespace sim {

struct device;
struct stream;
struct capture;
struct graph_exec;

// actor numbers whoever does things in an order of its own: the host of a device, a stream.
using actor = uint32_t;

// vector_clock says, of each actor, how many of its operations are known to be over.
struct vector_clock {
	std::vector<uint32_t> at;
	uint32_t of(actor a) const { return a < at.size() ? at[a] : 0; }
	void join(const vector_clock &o);
	void tick(actor a);
};

// range is memory that an operation touches.
struct range {
	uint64_t address, bytes;
	bool writes;
	const char *argument; // of a kernel; nullptr
};

// mark is the end of a stream's work so far.
struct mark {
	stream *on = nullptr;
	bool done = false;
	vector_clock clock;
	double ms = 0; // when it was reached
	std::shared_ptr<capture> in; // of one that was only captured; nullptr
	std::vector<size_t> seen;    // then: of each lane, how many of its steps are before
};

enum class kind { work, record, wait_event, wait_value, write_value };

struct operation {
	kind what;
	std::string name;
	uint64_t number = 0; // in its stream
	std::function<void(std::vector<range> &)> touches;
	std::function<std::string(uint64_t shuffle)> run; // returns what a GPU would have failed on
	uint64_t shuffle = 0; // the order of its blocks and threads; 0: as they are numbered
	std::shared_ptr<mark> event;
	uint64_t address = 0;
	uint32_t value = 0;
	std::shared_ptr<const vector_clock> host;  // its clock at the call
	uint64_t order = 0;                        // of all calls
	int fault = 0;                             // CUresult that it ends with
	bool spoil = false;                        // one of its results
	const void *module = nullptr;              // whose kernel it launches
};

struct stream {
	device *on;
	std::string name;
	actor self;
	int priority;
	vector_clock clock;
	std::deque<operation> queue;
	bool running = false;
	const void *runs = nullptr; // the module of the kernel that is running
	std::shared_ptr<capture> in; // what takes its work; nullptr: it runs
	size_t lane = 0;             // which of that
	uint64_t numbered = 0;
	double spent = 0; // ms of the work clock
};

struct event {
	std::shared_ptr<mark> last; // nullptr: never recorded
	bool timed = true;
};

// access is one of the last to touch a piece of memory.
struct access {
	actor by;
	uint32_t time;
	std::string what; // as "add on compute#12"
};

struct piece {
	uint64_t end;
	access write{0, 0, ""};
	std::vector<access> reads;
};

struct allocation {
	uint64_t address, bytes;
	uint64_t mapped, mapped_bytes; // with the zones around
	std::map<uint64_t, piece> pieces;
	bool host = false;
};

// step is an operation of a graph, on one of its lanes: what was a stream when it was captured.
struct step {
	size_t lane;
	operation o;
};

// capture is work that is written down, from its begin on a stream to the end there.
struct capture {
	stream *origin; // lane 0
	int mode;
	std::thread::id by;
	bool invalid = false, over = false;
	std::vector<std::string> lanes;
	std::vector<std::vector<size_t>> seen; // of each lane: how many steps of each are before its next
	std::vector<step> steps;
};

// graph_exec is a graph that can be launched, on streams of its own.
struct graph_exec {
	std::vector<step> steps;
	std::vector<stream *> lanes;
	std::shared_ptr<mark> last; // of its last launch
};

struct context {
	device *on;
};

struct device {
	int ordinal;
	uint64_t base = 0, next = 0; // its range of addresses
	uint64_t live = 0;
	int retained = 0;
	int sticky = 0; // CUresult of what killed the context
	context *current = nullptr;
	std::map<uint64_t, allocation> memory; // by address
	std::vector<std::unique_ptr<stream>> streams;
	std::vector<std::unique_ptr<graph_exec>> graphs;
	actor host;
	std::shared_ptr<const vector_clock> host_clock;
	std::mt19937_64 random;
	std::thread worker;
};

enum class mode { late, lazy, random, eager };

struct machine {
	std::mutex lock;
	std::condition_variable changed;
	bool initialised = false;
	std::vector<std::unique_ptr<device>> devices;
	std::map<uint64_t, allocation> pinned; // host memory by address
	std::map<uint64_t, vector_clock> values; // what was known when a word was written
	std::vector<std::shared_ptr<mark>> wanted; // what the host waits for, the newest last
	std::vector<std::string> findings;
	std::map<std::string, uint64_t> counts;
	uint64_t peak = 0;
	actor actors = 1; // 0 is nobody
	uint64_t calls = 0;
	sim::mode how = sim::mode::late;
	uint64_t delay = 0;
	bool work_clock = false; // events have the time of the work, not the host's
	int capability = 90;
	uint64_t memory_of_each = 4ull << 30;
};

machine &all();
extern thread_local context *current;

using guard = std::unique_lock<std::mutex>;

void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
void count(const std::string &what, uint64_t n = 1);
uint64_t env(const char *name, uint64_t otherwise);

// device.cc
int shared_of_block(int capability); // bytes that a block may ask for

// memory.cc
CUresult allocate(device &d, uint64_t bytes, uint64_t *address);
CUresult release(device &d, uint64_t address);
void release_all(device &d);
void check_zones(device &d);
void check_zones(allocation &a);
allocation *owner(uint64_t address, uint64_t bytes); // nullptr: outside of any
device *device_of(uint64_t address);

// race.cc
void touch(stream &s, const operation &o, const std::vector<range> &ranges);
void freed(allocation &a, const vector_clock &host);

// schedule.cc
void start(device &d);
void enqueue(stream &s, operation o); // or write it down, where s is captured
uint64_t draw(device &d); // operation.shuffle
stream *add_stream(device &d, const std::string &name, int priority);
std::shared_ptr<mark> mark_now(stream &s);
CUresult wait_for(guard &g, device &d, const std::shared_ptr<mark> &m);
void want(const std::shared_ptr<mark> &m);
void die(device &d, int code); // nothing of what is queued runs, and nobody waits for it
void beside(device &d, const char *what); // counts what may wait for a collective
void know(device &d, const vector_clock &c); // the host of d does, from now on

// graph.cc
void take(stream &s, operation o);                  // into the capture that s is in
std::shared_ptr<mark> mark_captured(stream &s);
CUresult wait_captured(stream &s, const std::shared_ptr<mark> &m); // where one of both is in a capture
CUresult not_captured(stream &s);                   // the refusal of what looks at a stream
CUresult refused(device &d);                        // what may not stand beside a capture
void invalidate(capture &c);

// faults.cc
struct planned {
	int result = 0;   // CUresult that the call or the operation ends with
	bool later = false; // the operation, not the call
	bool spoil = false;
	uint64_t slow_ms = 0;
};
planned planned_for(const std::string &op, int ordinal);

} // namespace sim
