// SPDX-License-Identifier: Apache-2.0

#include "fault.h"

#include <stdlib.h>

#include <sstream>

// cut takes what is before a separator off s, all of s where there is none.
static std::string cut(std::string &s, char separator) {
	const size_t at = s.find(separator);
	const std::string head = s.substr(0, at);
	s = at == std::string::npos ? "" : s.substr(at + 1);
	return head;
}

fault fault_of(const char *op, int n, int rank) {
	const char *all = getenv("SIM_FAULT");
	std::stringstream list(all ? all : "");
	for (std::string one; std::getline(list, one, ',');) {
		std::string where = cut(one, ':'), call = cut(where, '@'), name = cut(call, '#');
		const bool any = name == "*" && call.empty(); // every call
		if ((name != op && name != "*") || where != std::to_string(rank)) continue;
		if (!any && n != (call.empty() ? 1 : atoi(call.c_str()))) continue;
		fault f;
		f.kind = cut(one, '=');
		f.value = atoi(one.c_str());
		return f;
	}
	return {};
}
