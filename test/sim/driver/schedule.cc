// SPDX-License-Identifier: Apache-2.0

// Streams: what may run, what does next, and what the host waits for. A device has one
// worker, which runs an operation at a time.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace sim {

machine &all() {
	static machine *m = new machine; // workers outlive main
	return *m;
}
thread_local context *current;

void found(const char *format, ...) {
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	auto &f = all().findings;
	if (f.size() < 1000 && std::find(f.begin(), f.end(), text) == f.end()) f.push_back(text);
}

void count(const std::string &what, uint64_t n) { all().counts[what] += n; }

uint64_t env(const char *name, uint64_t otherwise) {
	const char *v = getenv(name);
	return v && *v ? strtoull(v, nullptr, 10) : otherwise;
}

static double now_ms() {
	return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void know(device &d, const vector_clock &c) {
	auto k = std::make_shared<vector_clock>(*d.host_clock);
	k->join(c);
	d.host_clock = k;
}

static uint32_t word(uint64_t address) { return __atomic_load_n((uint32_t *)address, __ATOMIC_ACQUIRE); }

// runnable reports whether the first operation of a stream needs nothing more.
static bool runnable(const stream &s) {
	if (s.running || s.queue.empty()) return false;
	const operation &o = s.queue.front();
	if (o.what == kind::wait_event) return o.event->done;
	if (o.what == kind::wait_value) return (int32_t)(word(o.address) - o.value) >= 0;
	return true;
}

// needed is the stream that has to go on so that s can; nullptr where nothing helps yet.
static stream *needed(stream &s, std::vector<stream *> &seen) {
	for (stream *x : seen)
		if (x == &s) return nullptr;
	seen.push_back(&s);
	if (runnable(s)) return &s;
	if (s.running || s.queue.empty()) return nullptr;
	const operation &o = s.queue.front();
	if (o.what == kind::wait_event) return needed(*o.event->on, seen);
	for (auto &d : all().devices)
		for (auto &other : d->streams)
			for (const operation &w : other->queue)
				if (w.what == kind::write_value && w.address == o.address) {
					if (stream *n = needed(*other, seen)) return n;
					break;
				}
	return nullptr;
}

// choose is the stream of d whose first operation is next.
static stream *choose(device &d) {
	machine &m = all();
	if (m.how == mode::late) {
		for (auto w = m.wanted.rbegin(); w != m.wanted.rend(); ++w) {
			std::vector<stream *> seen;
			stream *s = (*w)->done ? nullptr : needed(*(*w)->on, seen);
			if (s && s->on == &d) return s;
		}
		return nullptr;
	}
	if (m.how == mode::lazy && m.wanted.empty()) return nullptr;
	std::vector<stream *> may;
	for (auto &s : d.streams)
		if (runnable(*s)) may.push_back(s.get());
	if (may.empty()) return nullptr;
	if (m.how != mode::eager) return may[d.random() % may.size()];
	stream *first = may[0];
	for (stream *s : may)
		if (s->queue.front().order < first->queue.front().order) first = s;
	return first;
}

static void forget_done() {
	auto &w = all().wanted;
	size_t kept = 0;
	for (auto &x : w)
		if (!x->done) w[kept++] = x;
	w.resize(kept);
}

void die(device &d, int code) {
	if (!d.sticky) d.sticky = code;
	for (auto &s : d.streams) {
		for (operation &o : s->queue)
			if (o.what == kind::record) o.event->done = true;
		s->queue.clear();
	}
	forget_done();
	all().changed.notify_all();
}

// run_work runs an operation that computes, without the lock.
static void run_work(guard &g, stream &s, operation &o) {
	std::vector<range> touched;
	o.touches(touched);
	for (const range &r : touched)
		if (r.bytes && !owner(r.address, r.bytes)) {
			found("%s on %s touches %llu bytes that nobody has%s%s", o.name.c_str(), s.name.c_str(), (unsigned long long)r.bytes, r.argument ? ", " : "",
				r.argument ? r.argument : "");
			return die(*s.on, CUDA_ERROR_ILLEGAL_ADDRESS);
		}
	touch(s, o, touched);
	for (const range &r : touched) s.spent += (double)r.bytes / 1e6;
	const uint64_t delay = all().delay ? s.on->random() % all().delay : 0;
	g.unlock();
	if (delay) usleep((useconds_t)delay);
	const std::string fault = o.run(o.shuffle);
	if (o.spoil)
		for (const range &r : touched)
			if (r.writes) memset((void *)r.address, 0xFF, r.bytes < 4 ? r.bytes : 4);
	g.lock();
	if (fault.empty()) return;
	found("%s on %s: %s", o.name.c_str(), s.name.c_str(), fault.c_str());
	die(*s.on, CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void run(guard &g, stream &s) {
	machine &m = all();
	operation o = std::move(s.queue.front());
	s.queue.pop_front();
	s.clock.join(*o.host);
	s.clock.tick(s.self);
	s.running = true;
	s.runs = o.module;
	switch (o.what) {
	case kind::work: run_work(g, s, o); break;
	case kind::record:
		o.event->clock = s.clock;
		o.event->ms = m.work_clock ? s.spent : now_ms();
		o.event->done = true;
		break;
	case kind::wait_event: s.clock.join(o.event->clock); break;
	case kind::wait_value: s.clock.join(m.values[o.address]); break;
	case kind::write_value:
		m.values[o.address].join(s.clock);
		__atomic_store_n((uint32_t *)o.address, o.value, __ATOMIC_RELEASE);
		break;
	}
	s.running = false;
	s.runs = nullptr;
	if (o.fault) die(*s.on, o.fault);
	forget_done();
	m.changed.notify_all();
}

void beside(device &d, const char *what) {
	for (auto &s : d.streams)
		for (const operation &o : s->queue)
			if (o.what == kind::wait_value) return count(std::string(what) + " beside collectives");
}

void start(device &d) {
	d.worker = std::thread([&d] {
		guard g(all().lock);
		for (;;)
			if (stream *s = choose(d)) run(g, *s);
			else all().changed.wait(g);
	});
	d.worker.detach();
}

uint64_t draw(device &d) { return all().how == mode::lazy || all().how == mode::random ? d.random() : 0; }

stream *add_stream(device &d, const std::string &name, int priority) {
	auto s = std::make_unique<stream>();
	s->on = &d;
	s->self = all().actors++;
	s->priority = priority;
	s->name = name;
	d.streams.push_back(std::move(s));
	return d.streams.back().get();
}

void enqueue(stream &s, operation o) {
	if (s.in) return take(s, std::move(o));
	o.number = ++s.numbered;
	o.order = ++all().calls;
	o.host = s.on->host_clock;
	s.queue.push_back(std::move(o));
	all().changed.notify_all();
}

std::shared_ptr<mark> mark_now(stream &s) {
	auto m = std::make_shared<mark>();
	m->on = &s;
	operation o{};
	o.what = kind::record;
	o.name = "record";
	o.event = m;
	enqueue(s, std::move(o));
	return m;
}

void want(const std::shared_ptr<mark> &m) {
	if (m->done) return;
	all().wanted.push_back(m);
	all().changed.notify_all();
}

CUresult wait_for(guard &g, device &d, const std::shared_ptr<mark> &m) {
	want(m);
	while (!m->done) all().changed.wait(g);
	know(d, m->clock);
	return d.sticky;
}

} // namespace sim
