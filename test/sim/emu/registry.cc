// SPDX-License-Identifier: Apache-2.0

#include "registry.h"

#include <algorithm>
#include <map>

#include "kernel.h"

namespace {

// all is made when the first kernel registers itself, before main.
std::map<std::string, sim_kernel> &all() {
	static std::map<std::string, sim_kernel> kernels;
	return kernels;
}

std::vector<std::string> split(const char *arguments) {
	std::vector<std::string> list(1);
	for (const char *c = arguments; *c; c++) {
		if (*c == ',')
			list.emplace_back();
		else if (*c != ' ' || !list.back().empty())
			list.back() += *c;
	}
	return list;
}

} // namespace

namespace emu {

registered::registered(const char *name, uint32_t threads, const char *arguments, bound b) {
	all().emplace(name, sim_kernel{name, threads, split(arguments), std::move(b)});
}

ranges ranges_of(const sim_kernel &k, void *const *params) {
	std::vector<const char *> names;
	for (const std::string &a : k.arguments) names.push_back(a.c_str());
	ranges out;
	k.does.touches(params, names.data(), out);
	return out;
}

} // namespace emu

const sim_kernel *sim_kernel_find(const char *name) {
	const auto at = all().find(name);
	return at == all().end() ? nullptr : &at->second;
}

const sim_kernel *sim_kernel_at(size_t i) {
	return i < all().size() ? &std::next(all().begin(), static_cast<long>(i))->second : nullptr;
}

const char *sim_kernel_name(const sim_kernel *k) { return k->name.c_str(); }
uint32_t sim_kernel_threads(const sim_kernel *k) { return k->threads; }
size_t sim_kernel_params(const sim_kernel *k) { return k->does.bytes.size(); }
size_t sim_kernel_param_bytes(const sim_kernel *k, size_t i) { return k->does.bytes[i]; }

size_t sim_kernel_ranges(const sim_kernel *k, void *const *params, sim_range *out, size_t max) {
	const emu::ranges found = emu::ranges_of(*k, params);
	std::copy_n(found.begin(), std::min(max, found.size()), out);
	return found.size();
}

void sim_kernel_run(const sim_kernel *k, const sim_launch *launch, sim_report *report) { emu::run(*k, *launch, *report); }
