// SPDX-License-Identifier: Apache-2.0

// Collectives as work of streams: copies, values written and waited for, and one kernel.
// Nothing waits on the host, so where a peer is missing the stream hangs, as a GPU's does.

#include <algorithm>

#include "comm.h"

static size_t size_of(ncclDataType_t t) {
	switch (t) {
	case ncclInt8: case ncclUint8: case ncclFloat8e4m3: case ncclFloat8e5m2: return 1;
	case ncclFloat16: case ncclBfloat16: return 2;
	case ncclInt64: case ncclUint64: case ncclFloat64: return 8;
	default: return 4;
	}
}

namespace {

// message is one turn of all ranks through their slots: each fills its slot, says so,
// waits for the others and reads theirs. Whoever has filled its next one has read all of
// this turn, so that with two slots nobody overwrites what another still reads.
struct message {
	ncclComm_t c;
	CUstream s;
	uint32_t n;      // of the communicator
	size_t used = 0; // bytes of the slot

	message(ncclComm_t c, CUstream s) : c(c), s(s), n(c->calls++) {}
	template <class F>
	void peers(F f) const {
		const int size = static_cast<int>(c->of->size);
		for (int i = 1; i < size; i++) f((c->rank + i) % size);
	}
	void copy(CUdeviceptr to, CUdeviceptr from, size_t bytes) const {
		if (bytes > 0 && to != from) DRIVER(cuMemcpyDtoDAsync_v2, to, from, bytes, s);
	}
	// fill puts bytes into this rank's slot, at an offset.
	void fill(size_t at, CUdeviceptr from, size_t bytes) {
		copy(c->slot(c->rank, n) + at, from, bytes);
		used = std::max(used, at + bytes);
	}
	// take copies bytes out of rank q's slot.
	void take(CUdeviceptr to, int q, size_t at, size_t bytes) const { copy(to, c->slot(q, n) + at, bytes); }
	void filled() const {
		if (c->others) {
			const std::lock_guard<std::mutex> lock(c->others->mu);
			c->others->sizes.push_back(used);
		}
		if (c->others) DRIVER(cuStreamWriteValue32_v2, s, c->flag_of(c->rank, OUT, 0), n + 1, 0);
		peers([&](int q) {
			if (!c->elsewhere(q)) DRIVER(cuStreamWriteValue32_v2, s, c->flag_of(q, READY, c->rank), n + 1, 0);
		});
		peers([&](int q) { DRIVER(cuStreamWaitValue32_v2, s, c->flag_of(c->rank, READY, q), n + 1, 0); });
	}
};

// The kernel's arguments, as device/cuda/kernels has them: an address, then the type in
// the low bits, whether it is written in bit 8, and the elements.
struct argument {
	uint64_t address, meta;
};

} // namespace

// reduce sums, or takes the maximum of, what was gathered from all ranks.
static void reduce(const operation &o, CUdeviceptr to, size_t count) {
	uint64_t type;
	switch (o.type) { // dtype.Type
	case ncclFloat32: type = 1; break;
	case ncclBfloat16: type = 2; break;
	case ncclInt32: type = 6; break;
	default: fail(ncclInvalidArgument, "the simulator reduces no type %d", o.type);
	}
	if (o.op != ncclSum && o.op != ncclMax) fail(ncclInvalidArgument, "the simulator has no operation %d", o.op);
	argument y = {to, type | 1 << 8 | count << 16}, x = {o.comm->gathered, type | count * o.comm->of->size << 16};
	uint32_t op = static_cast<uint32_t>(o.op);
	void *params[] = {&y, &x, &op};
	CUlaunchConfig l = {};
	l.gridDimX = static_cast<unsigned>(std::min<size_t>((count + 2047) / 2048, 256));
	l.gridDimY = l.gridDimZ = l.blockDimY = l.blockDimZ = 1;
	l.blockDimX = 256;
	l.hStream = o.stream;
	DRIVER(cuLaunchKernelEx, &l, o.comm->reduce, params, nullptr);
}

// collective goes through a call's elements as many at a time as fit into a slot.
static void collective(const operation &o) {
	const ncclComm_t c = o.comm;
	const int ranks = static_cast<int>(c->of->size);
	const size_t size = size_of(o.type);
	const bool parts = o.what == kind::reduce_scatter, sums = parts || o.what == kind::all_reduce;
	const size_t most = (sums ? SLOT / ranks : SLOT) / size / 16 * 16;
	for (size_t at = 0; at < o.count; at += most) {
		const size_t n = std::min(most, o.count - at), bytes = n * size, off = at * size;
		message m(c, o.stream);
		if (parts) {
			for (int q = 0; q < ranks; q++) m.fill(q * bytes, o.from + (q * o.count + at) * size, bytes);
		} else if (o.what != kind::broadcast || o.peer == c->rank) {
			m.fill(0, o.from + off, bytes);
		}
		m.filled();
		for (int q = 0; q < ranks; q++) {
			if (sums)
				m.take(c->gathered + q * bytes, q, parts ? c->rank * bytes : 0, bytes);
			else if (o.what == kind::all_gather) {
				const CUdeviceptr to = o.to + q * o.count * size;
				if (q != c->rank || to != o.from) m.take(to + off, q, 0, bytes); // what is in place NCCL does not write, and others may read
			} else if (q == o.peer && (q != c->rank || o.to != o.from)) // a root in place has it
				m.take(o.to + off, q, 0, bytes);
		}
		if (sums) reduce(o, o.to + off, n);
	}
}

namespace {

// lane is the bytes that go from one rank to another in a group, message by message.
struct lane {
	struct piece {
		CUdeviceptr p;
		size_t bytes;
	};
	std::vector<piece> pieces;
	size_t bytes = 0;

	void add(CUdeviceptr p, size_t n) {
		pieces.push_back({p, n});
		bytes += n;
	}
	// each calls f with the memory of bytes lo to hi, and where in between it is.
	template <class F>
	void each(size_t lo, size_t hi, F f) const {
		size_t at = 0;
		for (const piece &p : pieces) {
			const size_t a = std::max(lo, at), b = std::min(hi, at + p.bytes);
			if (a < b) f(p.p + (a - at), a - lo, b - a);
			at += p.bytes;
		}
	}
};

} // namespace

// pairs does the sends and receives of a group, those of an all-to-all: as many bytes from
// each rank to each. A slot has a part for every rank.
static void pairs(ncclComm_t c, CUstream s, const std::vector<operation> &list) {
	const int ranks = static_cast<int>(c->of->size), me = c->rank;
	std::vector<lane> out(ranks), in(ranks);
	for (const operation &o : list) (o.what == kind::send ? out : in)[o.peer].add(o.what == kind::send ? o.from : o.to, o.count * size_of(o.type));
	const size_t bytes = out[me].bytes, part = SLOT / ranks / 16 * 16;
	for (int q = 0; q < ranks; q++)
		if (out[q].bytes != bytes || in[q].bytes != bytes)
			fail(ncclInvalidUsage, "the simulator only sends as many bytes to each rank as it receives: not %zu to %d and %zu from it, and %zu to itself", out[q].bytes, q, in[q].bytes, bytes);
	for (size_t lo = 0; lo < bytes; lo += part) {
		message m(c, s);
		for (int q = 0; q < ranks; q++) out[q].each(lo, lo + part, [&](CUdeviceptr from, size_t at, size_t n) { m.fill(q * part + at, from, n); });
		m.filled();
		for (int q = 0; q < ranks; q++) in[q].each(lo, lo + part, [&](CUdeviceptr to, size_t at, size_t n) { m.take(to, q, me * part + at, n); });
	}
}

// after makes a stream wait for the communicator's last call, on whichever it was.
static void after(ncclComm_t c, CUstream s) {
	if (!c->opened) {
		c->opened = true;
		open_proxy(c);
		for (const seat &peer : c->of->seats)
			if (peer.context) DRIVER(cuStreamWaitEvent, s, peer.open, 0);
	}
	if (s != c->last_stream) DRIVER(cuStreamWaitEvent, s, c->mine.last, 0);
	c->last_stream = s;
}

void enqueue(ncclComm_t c, const std::vector<operation> &list) {
	std::vector<operation> between; // sends and receives, which are done together
	CUstream s = nullptr;
	const auto flush = [&] {
		if (!between.empty()) pairs(c, s, between);
		between.clear();
	};
	for (const operation &o : list) {
		if (o.stream != s) {
			flush();
			if (s) DRIVER(cuEventRecord, c->mine.last, s);
			s = o.stream;
			after(c, s);
		}
		if (o.what == kind::send || o.what == kind::receive) {
			between.push_back(o);
			continue;
		}
		flush();
		if (o.what == kind::hang)
			DRIVER(cuStreamWaitValue32_v2, s, c->flag_of(c->rank, HANG, 0), 1, 0);
		else
			collective(o);
	}
	flush();
	if (s) DRIVER(cuEventRecord, c->mine.last, s);
}
