// SPDX-License-Identifier: Apache-2.0

// Of libcuda: graphs that are captured from streams. What is enqueued on a stream in a capture is
// written down; a launch of the graph runs it on streams of the graph's own, one for each that was captured,
// since the work of one was in order and everything else was joined by events. So schedules,
// poison and the race detector see a replay as they see any work.
//
// What CUDA refuses beside a capture is refused with its result, and ends the capture.

#include <algorithm>

#include "state.h"

using namespace sim;

// graph is what EndCapture gives.
struct graph {
	std::vector<std::string> lanes;
	std::vector<step> steps;
};

static thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

namespace sim {

void invalidate(capture &c) {
	if (!c.over) c.invalid = true;
}

CUresult not_captured(stream &s) {
	invalidate(*s.in);
	return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult refused(device &d) {
	if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
	CUresult r = CUDA_SUCCESS;
	for (auto &s : d.streams) {
		if (!s->in || s->in->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
		const bool anybody = s->in->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
		if (anybody || s->in->by == std::this_thread::get_id()) r = not_captured(*s);
	}
	return r;
}

// join makes a stream a lane of a capture.
static void join(stream &s, const std::shared_ptr<capture> &c) {
	s.in = c;
	s.lane = c->lanes.size();
	c->lanes.push_back(s.name);
	c->seen.emplace_back();
}

static size_t &at(std::vector<size_t> &seen, size_t lane) {
	if (seen.size() <= lane) seen.resize(lane + 1);
	return seen[lane];
}

void take(stream &s, operation o) {
	capture &c = *s.in;
	at(c.seen[s.lane], s.lane)++;
	c.steps.push_back({s.lane, std::move(o)});
}

std::shared_ptr<mark> mark_captured(stream &s) {
	auto m = std::make_shared<mark>();
	m->on = &s;
	m->in = s.in;
	m->seen = s.in->seen[s.lane];
	operation o{};
	o.what = kind::record;
	o.name = "record";
	o.event = m;
	s.in->steps.push_back({s.lane, std::move(o)}); // it is no work, so it needs no join
	return m;
}

CUresult wait_captured(stream &s, const std::shared_ptr<mark> &m) {
	if (s.in && s.in->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (!m->in) {
		invalidate(*s.in);
		return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
	}
	if (m->in->over) {
		if (s.in) invalidate(*s.in);
		return CUDA_ERROR_CAPTURED_EVENT;
	}
	if (s.in && s.in != m->in) {
		invalidate(*s.in);
		invalidate(*m->in);
		return CUDA_ERROR_STREAM_CAPTURE_MERGE;
	}
	if (m->in->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (!s.in) join(s, m->in);
	auto &seen = s.in->seen[s.lane];
	for (size_t lane = 0; lane < m->seen.size(); lane++) at(seen, lane) = std::max(at(seen, lane), m->seen[lane]);
	operation o{};
	o.what = kind::wait_event;
	o.name = "wait";
	o.event = m;
	take(s, std::move(o));
	return CUDA_SUCCESS;
}

} // namespace sim

// CAPTURED takes the lock, a stream of the current context, s, and its device, d.
#define CAPTURED(handle) \
	guard g(all().lock); \
	if (!current) return all().initialised ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_NOT_INITIALIZED; \
	device &d = *current->on; \
	stream *s = nullptr; \
	for (auto &x : d.streams) \
		if (x.get() == (stream *)handle) s = x.get(); \
	if (!s) return CUDA_ERROR_INVALID_HANDLE; \
	if (d.sticky) return d.sticky

CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
	CAPTURED(handle);
	if (s->in) return CUDA_ERROR_ILLEGAL_STATE;
	auto c = std::make_shared<capture>();
	c->origin = s;
	c->mode = mode;
	c->by = std::this_thread::get_id();
	join(*s, c);
	return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *out) {
	CAPTURED(handle);
	*out = nullptr;
	const auto c = s->in;
	if (!c) return CUDA_ERROR_ILLEGAL_STATE;
	if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && c->by != std::this_thread::get_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	if (c->origin != s) {
		invalidate(*c);
		return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
	}
	bool joined = true;
	for (size_t lane = 1; lane < c->lanes.size(); lane++) joined &= at(c->seen[0], lane) >= at(c->seen[lane], lane);
	for (auto &x : d.streams)
		if (x->in == c) x->in = nullptr;
	c->over = true;
	std::vector<step> steps;
	std::swap(steps, c->steps);
	if (c->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (!joined) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
	*out = (CUgraph) new graph{c->lanes, std::move(steps)};
	return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status) {
	CAPTURED(handle);
	*status = !s->in ? CU_STREAM_CAPTURE_STATUS_NONE : s->in->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	return CUDA_SUCCESS;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
	if (*mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
	std::swap(*mode, thread_mode);
	return CUDA_SUCCESS;
}

// CURRENT takes the lock and the current context's device, d.
#define CURRENT \
	guard g(all().lock); \
	if (!current) return all().initialised ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_NOT_INITIALIZED; \
	[[maybe_unused]] device &d = *current->on; \
	if (d.sticky) return d.sticky

CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph handle, unsigned long long flags) {
	CURRENT;
	if (!handle || flags) return CUDA_ERROR_INVALID_VALUE;
	if (const planned p = planned_for("GraphInstantiateWithFlags", d.ordinal); p.result) return p.result;
	const graph &from = *(graph *)handle;
	auto e = std::make_unique<graph_exec>();
	e->steps = from.steps;
	for (const std::string &lane : from.lanes) e->lanes.push_back(add_stream(d, lane + " of a graph", 0));
	*out = (CUgraphExec)e.get();
	d.graphs.push_back(std::move(e));
	return CUDA_SUCCESS;
}

static graph_exec *find(device &d, CUgraphExec handle) {
	for (auto &e : d.graphs)
		if (e.get() == (graph_exec *)handle) return e.get();
	return nullptr;
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream) {
	CURRENT;
	return find(d, handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void wait_on(stream &s, const std::shared_ptr<mark> &m) {
	operation o{};
	o.what = kind::wait_event;
	o.name = "wait";
	o.event = m;
	enqueue(s, std::move(o));
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream on) {
	CAPTURED(on);
	graph_exec *const e = find(d, handle);
	if (!e) return CUDA_ERROR_INVALID_VALUE;
	if (s->in) return not_captured(*s); // CUDA makes it a part of the other graph: not simulated
	if (const planned p = planned_for("GraphLaunch", d.ordinal); p.result) return p.result;
	count("graph launches");
	wait_on(*e->lanes[0], mark_now(*s));
	if (e->last) wait_on(*e->lanes[0], e->last); // launches of one graph are in order, whatever streams they are on
	std::map<const mark *, std::shared_ptr<mark>> marks; // of this launch, by those of the capture
	for (const step &x : e->steps) {
		stream &lane = *e->lanes[x.lane];
		switch (x.o.what) {
		case kind::record: marks[x.o.event.get()] = mark_now(lane); break;
		case kind::wait_event: wait_on(lane, marks[x.o.event.get()]); break;
		default:
			operation o = x.o;
			o.shuffle = draw(d);
			count("graph steps");
			enqueue(lane, std::move(o));
		}
	}
	e->last = mark_now(*e->lanes[0]);
	wait_on(*s, e->last);
	return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph handle) {
	CURRENT;
	if (!handle) return CUDA_ERROR_INVALID_VALUE;
	delete (graph *)handle;
	return CUDA_SUCCESS;
}

// A launch that has not ended goes on: its streams stay.
CUresult cuGraphExecDestroy(CUgraphExec handle) {
	CURRENT;
	graph_exec *const e = find(d, handle);
	if (!e) return CUDA_ERROR_INVALID_VALUE;
	const auto idle = [&](const std::unique_ptr<stream> &s) {
		return std::find(e->lanes.begin(), e->lanes.end(), s.get()) != e->lanes.end() && s->queue.empty() && !s->running;
	};
	d.streams.erase(std::remove_if(d.streams.begin(), d.streams.end(), idle), d.streams.end());
	d.graphs.erase(std::find_if(d.graphs.begin(), d.graphs.end(), [&](auto &x) { return x.get() == e; }));
	return CUDA_SUCCESS;
}
