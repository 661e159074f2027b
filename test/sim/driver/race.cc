// SPDX-License-Identifier: Apache-2.0

// The race detector: two operations that touch the same bytes, one of which writes, need
// an order that the program made. Clocks move when an operation runs, so what is found
// does not depend on the order in which things happened to run.

#include "state.h"

namespace sim {

void vector_clock::join(const vector_clock &o) {
	if (at.size() < o.at.size()) at.resize(o.at.size());
	for (size_t i = 0; i < o.at.size(); i++) at[i] = std::max(at[i], o.at[i]);
}

void vector_clock::tick(actor a) {
	if (at.size() <= a) at.resize(a + 1);
	at[a]++;
}

// split makes [begin, end) a whole number of pieces.
static std::map<uint64_t, piece>::iterator split(allocation &a, uint64_t begin, uint64_t end) {
	if (a.pieces.empty()) a.pieces[a.address] = piece{a.address + a.bytes, {0, 0, ""}, {}};
	for (const uint64_t at : {begin, end}) {
		if (at == a.address + a.bytes) continue;
		auto it = --a.pieces.upper_bound(at);
		if (it->first == at) continue;
		piece behind = it->second;
		it->second.end = at;
		a.pieces.emplace(at, std::move(behind));
	}
	return a.pieces.find(begin);
}

static void report(const char *first, const access &before, const char *second, const std::string &now) {
	found("%s %s and %s %s are unordered: no Wait between them", first, before.what.c_str(), second, now.c_str());
}

void touch(stream &s, const operation &o, const std::vector<range> &ranges) {
	const std::string now = o.name + " on " + s.name + "#" + std::to_string(o.number);
	const access me{s.self, s.clock.of(s.self), now};
	const auto ordered = [&](const access &a) { return a.by == s.self || s.clock.of(a.by) >= a.time; };
	for (const range &r : ranges) {
		allocation *a = r.bytes ? owner(r.address, r.bytes) : nullptr;
		if (!a) continue; // the one who runs it says so
		for (auto it = split(*a, r.address, r.address + r.bytes); it != a->pieces.end() && it->first < r.address + r.bytes; ++it) {
			piece &p = it->second;
			if (!ordered(p.write)) {
				report("write", p.write, r.writes ? "write" : "read", now);
				p.write = me; // said once
			}
			if (!r.writes) {
				size_t kept = 0;
				for (access &b : p.reads)
					if (!ordered(b)) p.reads[kept++] = b;
				p.reads.resize(kept);
				p.reads.push_back(me);
				continue;
			}
			for (const access &b : p.reads)
				if (!ordered(b)) report("read", b, "write", now);
			p.reads.clear();
			p.write = me;
		}
		if (!r.writes) continue;
		auto it = a->pieces.find(r.address); // what was written at once is one piece again
		for (auto next = std::next(it); next != a->pieces.end() && next->first < r.address + r.bytes;) {
			it->second.end = next->second.end;
			next = a->pieces.erase(next);
		}
	}
}

void freed(allocation &a, const vector_clock &host) {
	for (auto &[address, p] : a.pieces) {
		std::vector<access> uses = p.reads;
		uses.push_back(p.write);
		for (const access &u : uses)
			if (host.of(u.by) < u.time) {
				found("%llu bytes are freed while %s may use them: nobody has waited for it", (unsigned long long)a.bytes, u.what.c_str());
				return;
			}
	}
}

} // namespace sim
