// SPDX-License-Identifier: Apache-2.0

// Of libcuda: streams, events, copies.

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "state.h"

using namespace sim;

// ON takes the lock and a stream's device, d.
#define ON(handle) \
	guard g(all().lock); \
	if (!current) return all().initialised ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_NOT_INITIALIZED; \
	stream *const s = find(*current->on, handle); \
	if (!s) return CUDA_ERROR_INVALID_HANDLE; \
	device &d = *s->on; \
	if (d.sticky) return d.sticky

// WRITABLE is ON for what enqueues: a capture that has failed takes nothing more.
#define WRITABLE(handle) \
	ON(handle); \
	if (s->in && s->in->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED

static stream *find(device &d, CUstream handle) {
	for (auto &s : d.streams)
		if (s.get() == (stream *)handle) return s.get();
	return nullptr;
}

CUresult cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority) {
	guard g(all().lock);
	if (!current) return CUDA_ERROR_INVALID_CONTEXT;
	device &d = *current->on;
	if (d.sticky) return d.sticky;
	if (flags != CU_STREAM_NON_BLOCKING) found("a stream that blocks was made: it waits for the default stream");
	*out = (CUstream)add_stream(d, "stream " + std::to_string(d.streams.size() + 1), std::clamp(priority, -5, 0));
	return CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream handle) {
	guard g(all().lock);
	if (!current) return CUDA_ERROR_INVALID_CONTEXT;
	device &d = *current->on;
	stream *s = find(d, handle);
	if (!s) return CUDA_ERROR_INVALID_HANDLE;
	if (s->in) return not_captured(*s);
	if (!d.sticky) {
		auto end = mark_now(*s);
		want(end);
		while (!end->done) all().changed.wait(g);
	}
	while (s->running) all().changed.wait(g);
	d.streams.erase(std::find_if(d.streams.begin(), d.streams.end(), [&](auto &x) { return x.get() == s; }));
	return CUDA_SUCCESS;
}
CUresult cuStreamQuery(CUstream handle) {
	ON(handle);
	if (s->in) return not_captured(*s);
	if (s->queue.empty() && !s->running) {
		know(d, s->clock);
		return CUDA_SUCCESS;
	}
	const bool marked = !s->queue.empty() && s->queue.back().what == kind::record;
	want(marked ? s->queue.back().event : mark_now(*s));
	return CUDA_ERROR_NOT_READY;
}
CUresult cuStreamSynchronize(CUstream handle) {
	ON(handle);
	if (s->in) return not_captured(*s);
	count("host waits");
	const CUresult r = wait_for(g, d, mark_now(*s));
	check_zones(d);
	return r;
}
CUresult cuStreamWaitEvent(CUstream handle, CUevent e, unsigned int flags) {
	ON(handle);
	if (flags) return CUDA_ERROR_INVALID_VALUE;
	auto &last = ((event *)e)->last;
	if (!last) return CUDA_SUCCESS; // never recorded: nothing to wait for
	if (s->in || last->in) return wait_captured(*s, last);
	count("waits");
	operation o{};
	o.what = kind::wait_event;
	o.name = "wait";
	o.event = last;
	enqueue(*s, std::move(o));
	return CUDA_SUCCESS;
}

// on_word enqueues a write of a word, or a wait for one.
static CUresult on_word(CUstream handle, kind what, CUdeviceptr address, uint32_t value, unsigned int flags) {
	WRITABLE(handle);
	if (flags || address % 4 || !owner(address, 4)) return CUDA_ERROR_INVALID_VALUE;
	operation o{};
	o.what = what;
	o.name = what == kind::wait_value ? "wait for a value" : "write of a value";
	o.address = address;
	o.value = value;
	enqueue(*s, std::move(o));
	return CUDA_SUCCESS;
}
CUresult cuStreamWriteValue32_v2(CUstream s, CUdeviceptr address, cuuint32_t value, unsigned int flags) {
	return on_word(s, kind::write_value, address, value, flags);
}
CUresult cuStreamWaitValue32_v2(CUstream s, CUdeviceptr address, cuuint32_t value, unsigned int flags) {
	return on_word(s, kind::wait_value, address, value, flags);
}

CUresult cuEventCreate(CUevent *out, unsigned int flags) {
	if (!current) return CUDA_ERROR_INVALID_CONTEXT;
	*out = (CUevent) new event{nullptr, !(flags & CU_EVENT_DISABLE_TIMING)};
	return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent e) {
	guard g(all().lock);
	delete (event *)e;
	return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent e, CUstream handle) {
	WRITABLE(handle);
	count("records");
	((event *)e)->last = s->in ? mark_captured(*s) : mark_now(*s);
	return CUDA_SUCCESS;
}

// REACHED takes the lock and an event's last mark; one never recorded is reached.
#define REACHED(e) \
	guard g(all().lock); \
	if (!current) return CUDA_ERROR_INVALID_CONTEXT; \
	device &d = *current->on; \
	if (d.sticky) return d.sticky; \
	auto last = ((event *)e)->last; \
	if (!last) return CUDA_SUCCESS; \
	if (last->in) return invalidate(*last->in), CUDA_ERROR_CAPTURED_EVENT; \
	if (const CUresult r = refused(d)) return r

CUresult cuEventQuery(CUevent e) {
	REACHED(e);
	want(last);
	if (!last->done) return CUDA_ERROR_NOT_READY;
	know(d, last->clock);
	return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent e) {
	REACHED(e);
	count("host waits");
	return wait_for(g, d, last);
}
CUresult cuEventElapsedTime(float *ms, CUevent from, CUevent to) {
	guard g(all().lock);
	auto a = ((event *)from)->last, b = ((event *)to)->last;
	if (a && b && (a->in || b->in)) return CUDA_ERROR_CAPTURED_EVENT;
	if (!a || !b || !((event *)from)->timed || !((event *)to)->timed) return CUDA_ERROR_INVALID_HANDLE;
	if (!a->done || !b->done) return CUDA_ERROR_NOT_READY;
	*ms = (float)(b->ms - a->ms);
	return CUDA_SUCCESS;
}

// PLANNED is what SIM_FAULT has for the operation o.
#define PLANNED(op) \
	const planned plan = planned_for(op, d.ordinal); \
	if (plan.result && !plan.later) return plan.result; \
	o.fault = plan.result; \
	o.spoil = plan.spoil; \
	const uint64_t slow = plan.slow_ms * 1000

// copy enqueues a copy between memory that is there; host memory has to be pinned.
static CUresult copy(CUstream handle, const char *op, const char *name, uint64_t dst, uint64_t src, size_t bytes, bool from_host, bool to_host) {
	WRITABLE(handle);
	operation o{};
	PLANNED(op);
	if (!bytes) return CUDA_SUCCESS;
	const bool there = owner(src, bytes), here = owner(dst, bytes);
	if (from_host ? !here : to_host ? !there : !there || !here) return CUDA_ERROR_INVALID_VALUE;
	count("copies");
	count(std::string("bytes of ") + name, bytes);
	o.what = kind::work;
	o.name = name;
	const bool pinned = there && here;
	if (!pinned && s->in) return not_captured(*s);
	o.touches = [=](std::vector<range> &all) {
		if (there) all.push_back({src, bytes, false, nullptr});
		if (here) all.push_back({dst, bytes, true, nullptr});
	};
	std::shared_ptr<std::vector<char>> held; // what is not pinned is read at once
	if (!pinned) {
		found("%s: host memory that is not pinned: the host waits", op);
		if (from_host) held = std::make_shared<std::vector<char>>((char *)src, (char *)src + bytes);
	}
	o.run = [=](uint64_t) -> std::string {
		if (slow) usleep((useconds_t)slow);
		memmove((void *)dst, held ? held->data() : (void *)src, bytes);
		return "";
	};
	enqueue(*s, std::move(o));
	return pinned ? CUDA_SUCCESS : wait_for(g, d, mark_now(*s));
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream s) {
	return copy(s, "MemcpyHtoDAsync", "upload", dst, (uint64_t)src, bytes, true, false);
}
CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream s) {
	return copy(s, "MemcpyDtoHAsync", "download", (uint64_t)dst, src, bytes, false, true);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream s) {
	return copy(s, "MemcpyDtoDAsync", "copy", dst, src, bytes, false, false);
}

// set enqueues n values of size bytes.
static CUresult set(CUstream handle, const char *op, uint64_t dst, uint32_t value, size_t n, size_t size) {
	WRITABLE(handle);
	operation o{};
	PLANNED(op);
	if (!n) return CUDA_SUCCESS;
	if (dst % size || !owner(dst, n * size)) return CUDA_ERROR_INVALID_VALUE;
	count("sets");
	o.what = kind::work;
	o.name = "set";
	o.touches = [=](std::vector<range> &all) { all.push_back({dst, n * size, true, nullptr}); };
	o.run = [=](uint64_t) -> std::string {
		if (slow) usleep((useconds_t)slow);
		if (size == 1) memset((void *)dst, (int)value, n);
		else std::fill_n((uint32_t *)dst, n, value);
		return "";
	};
	enqueue(*s, std::move(o));
	return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t n, CUstream s) { return set(s, "MemsetD8Async", dst, value, n, 1); }
CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t n, CUstream s) { return set(s, "MemsetD32Async", dst, value, n, 4); }
