// SPDX-License-Identifier: Apache-2.0

// Runs launches: block after block, the threads of each in turns, in an order that a
// seed chooses anew at every turn.

#include "block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>

#include "fiber.h"
#include "kernel.h"

#if defined(__x86_64__)
asm(R"(
	.text
	.globl octet_fiber_change
	.hidden octet_fiber_change
	.type octet_fiber_change, @function
octet_fiber_change:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq (%rsi), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
	.size octet_fiber_change, .-octet_fiber_change
)");
#endif

namespace emu {

thread_local here *now;

namespace {

constexpr size_t stack_bytes = 128 << 10;
constexpr uint32_t most_threads = 1024, warp = 32;
constexpr size_t most_shared = 227 << 10; // what a block of the largest GPU may have

enum state { ready, at_barrier, at_meeting, done };

struct copy {
	void *to;
	const void *from;
	size_t bytes;
	int line;
};

struct thread {
	fiber at;
	state is;
	int line;                 // of what it waits for
	std::vector<copy> copies; // under way
};

struct meeting {
	board boards[2]; // one is still read while the next is written
	uint32_t arrived, turn;
};

// worker is what runs one launch at a time; each host thread has one.
struct worker {
	here place;
	const sim_kernel *kernel;
	const sim_launch *launch;
	sim_report *report;
	fiber scheduler;
	thread threads[most_threads];
	meeting warps[most_threads / warp];
	uint32_t waiting, finished; // at the barrier, at their end
	std::vector<size_t> sites;  // where a site's memory begins, or none
	size_t shared_used;
	char *shared, *stacks;
	bool failed;
	uint64_t random;

	worker();
	~worker();
	bool run_block(uint32_t number);
	uint32_t draw(uint32_t below);
	void shuffle(std::vector<uint32_t> &order);
	void stuck();
};

thread_local worker *own;

char *reserve(size_t bytes) {
	void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) abort();
	return static_cast<char *>(p);
}

worker::worker() : shared(reserve(most_shared)), stacks(reserve(stack_bytes * most_threads)) {}
worker::~worker() {
	munmap(shared, most_shared);
	munmap(stacks, stack_bytes * most_threads);
}

// draw is splitmix64's.
uint32_t worker::draw(uint32_t below) {
	uint64_t z = random += 0x9E3779B97F4A7C15;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
	z = (z ^ z >> 27) * 0x94D049BB133111EB;
	return static_cast<uint32_t>((z ^ z >> 31) >> 32) % below;
}

void worker::shuffle(std::vector<uint32_t> &order) {
	if (launch->seed == 0) return;
	for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[draw(static_cast<uint32_t>(i))]);
}

void wait_as(state is, int line) {
	thread &t = own->threads[now->thread];
	t.is = is, t.line = line;
	change(t.at, own->scheduler);
}

void entry() {
	own->kernel->does.run(own->launch->params);
	const std::vector<copy> &left = own->threads[now->thread].copies;
	if (!left.empty()) fault(left[0].line, "ends before %zu copies that it began", left.size());
	own->finished++;
	wait_as(done, 0);
	abort();
}

void worker::stuck() {
	// Some threads wait for others that have ended, or wait elsewhere.
	std::string where;
	uint32_t counts[2] = {0, 0};
	for (uint32_t i = 0; i < launch->block; i++) {
		if (threads[i].is == done) continue;
		counts[threads[i].is == at_meeting]++;
		const std::string text = "thread " + std::to_string(i) + " at line " + std::to_string(threads[i].line);
		if (where.size() < 150 && where.find(" line " + std::to_string(threads[i].line)) == std::string::npos) where += (where.empty() ? "" : ", ") + text;
	}
	snprintf(report->fault, sizeof report->fault, "%s, block %u: %u threads wait at a barrier and %u for their warp, which the others never reach (%s; %u have ended)",
		kernel->name.c_str(), place.number, counts[0], counts[1], where.c_str(), finished);
}

bool worker::run_block(uint32_t number) {
	place.number = number;
	std::fill(sites.begin(), sites.end(), SIZE_MAX);
	shared_used = (launch->shared + 15) & ~size_t(15);
	memset(shared, 0xFF, shared_used);
	waiting = finished = 0;
	const uint32_t n = launch->block;
	for (uint32_t i = 0; i < n; i++) {
		threads[i].is = ready;
		threads[i].copies.clear();
		char *bottom = stacks + i * stack_bytes;
		begin(threads[i].at, bottom, bottom + stack_bytes, entry);
	}
	for (meeting &w : warps) w.arrived = w.turn = 0;
	std::vector<uint32_t> order(n);
	std::iota(order.begin(), order.end(), 0);
	while (finished < n) {
		shuffle(order);
		bool moved = false;
		for (uint32_t i : order) {
			if (threads[i].is != ready) continue;
			moved = true;
			place.thread = i;
			change(scheduler, threads[i].at);
			if (failed) return false;
		}
		if (!moved) {
			stuck();
			return false;
		}
	}
	return true;
}

} // namespace

void fault(int line, const char *format, ...) {
	char what[300];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	worker &w = *own;
	const std::string at = line > 0 ? " at line " + std::to_string(line) : "";
	snprintf(w.report->fault, sizeof w.report->fault, "%s, block %u, thread %u%s: %s", w.kernel->name.c_str(), now->number, now->thread, at.c_str(), what);
	w.failed = true;
	change(w.threads[now->thread].at, w.scheduler);
	abort();
}

void out_of_bounds(const void *tensor, uint64_t size, uint64_t at, uint32_t bytes, int writes, int line) {
	std::string which = "a tensor";
	for (const sim_range &r : ranges_of(*own->kernel, own->launch->params))
		if (r.address == reinterpret_cast<uint64_t>(tensor)) which = std::string("its argument `") + r.argument + "`";
	if (at + bytes <= size) fault(line, "writes to %s, which it was given to read", which.c_str());
	fault(line, "%s bytes %llu to %llu of %s, which has %llu", writes ? "writes" : "reads", (unsigned long long)at,
		(unsigned long long)(at + bytes), which.c_str(), (unsigned long long)size);
}

static uint32_t sites;
uint32_t new_site() { return __atomic_fetch_add(&sites, 1, __ATOMIC_RELAXED); }

void *shared_memory(uint32_t site, size_t bytes) {
	worker &w = *own;
	if (site >= w.sites.size()) w.sites.resize(site + 1, SIZE_MAX);
	if (w.sites[site] == SIZE_MAX) {
		w.sites[site] = w.shared_used;
		w.shared_used += (bytes + 15) & ~size_t(15);
		if (w.shared_used > most_shared) fault(0, "has more than %zu bytes of shared memory", most_shared);
		memset(w.shared + w.sites[site], 0xFF, bytes);
	}
	return w.shared + w.sites[site];
}

void *dynamic_memory(size_t *bytes) {
	*bytes = own->launch->shared;
	return own->shared;
}

void sync_block(int line) {
	worker &w = *own;
	if (++w.waiting < w.launch->block) {
		wait_as(at_barrier, line);
		return;
	}
	w.waiting = 0;
	for (uint32_t i = 0; i < w.launch->block; i++)
		if (w.threads[i].is == at_barrier) w.threads[i].is = ready;
}

void copy_begin(void *to, const void *from, size_t bytes, int line) {
	memset(to, 0xFF, bytes);
	own->threads[now->thread].copies.push_back({to, from, bytes, line});
}

void copies_end() {
	std::vector<copy> &all = own->threads[now->thread].copies;
	for (const copy &c : all) c.from ? (void)memcpy(c.to, c.from, c.bytes) : (void)memset(c.to, 0, c.bytes);
	all.clear();
}

const board &meet(const void *brought, size_t bytes, int line) {
	worker &w = *own;
	meeting &m = w.warps[now->thread / warp];
	board &b = m.boards[m.turn % 2];
	memcpy(b.slot[now->thread % warp], brought, bytes);
	if (++m.arrived < warp) {
		wait_as(at_meeting, line);
		return b;
	}
	m.arrived = 0, m.turn++;
	const uint32_t first = now->thread / warp * warp;
	for (uint32_t i = first; i < first + warp; i++)
		if (w.threads[i].is == at_meeting) w.threads[i].is = ready;
	return b;
}

void run(const sim_kernel &k, const sim_launch &launch, sim_report &report) {
	static thread_local const std::unique_ptr<worker> mine(new worker);
	worker &w = *mine;
	report = {};
	if (launch.block != k.threads || launch.grid == 0) {
		snprintf(report.fault, sizeof report.fault, "%s: %u blocks of %u threads; it is made for %u", k.name.c_str(), launch.grid, launch.block, k.threads);
		return;
	}
	if (launch.shared > most_shared) {
		snprintf(report.fault, sizeof report.fault, "%s: %u bytes of dynamic shared memory", k.name.c_str(), launch.shared);
		return;
	}
	own = &w, now = &w.place;
	w.kernel = &k, w.launch = &launch, w.report = &report;
	w.place = {0, launch.block, 0, launch.grid, {}};
	w.failed = false, w.random = launch.seed;
	std::vector<uint32_t> order(launch.grid);
	std::iota(order.begin(), order.end(), 0);
	w.shuffle(order);
	for (uint32_t b : order)
		if (!w.run_block(b)) break;
	const ranges touched = ranges_of(k, launch.params);
	for (const moved &m : w.place.tensors) {
		report.bytes_read += m.read, report.bytes_written += m.written;
		for (const sim_range &r : touched)
			if (m.tensor && r.address == reinterpret_cast<uint64_t>(m.tensor)) {
				if (!strncmp(r.argument, "table ", 6) && r.address == *static_cast<const uint64_t *>(launch.params[r.index])) break; // the list's own words
				report.read[r.index] += m.read, report.written[r.index] += m.written;
				break;
			}
	}
}

} // namespace emu
