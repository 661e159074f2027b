// SPDX-License-Identifier: Apache-2.0

#include "faults.h"

#include <cstdlib>
#include <sstream>

#include "state.h"

namespace sim {

// planned_for counts the call, and is what SIM_FAULT has for it.
planned planned_for(const std::string &op, int ordinal) {
	planned p;
	const char *text = getenv("SIM_FAULT");
	if (!text || !*text) return p;
	machine &m = all();
	const uint64_t n = ++m.counts["fault " + op + "@" + std::to_string(ordinal)];
	std::stringstream list(text);
	for (std::string f; std::getline(list, f, ',');) {
		const size_t at = f.find('@'), colon = f.find(':', at), number = f.find('#');
		if (at == std::string::npos || colon == std::string::npos) {
			found("SIM_FAULT: \"%s\" is no OP[#N]@DEVICE:KIND", f.c_str());
			continue;
		}
		const bool numbered = number < at;
		if (f.substr(0, numbered ? number : at) != op || atoi(f.c_str() + at + 1) != ordinal) continue;
		if (n != (numbered ? strtoull(f.c_str() + number + 1, nullptr, 10) : 1)) continue;
		const std::string kind = f.substr(colon + 1);
		if (kind.compare(0, 6, "error=") == 0) p.result = atoi(kind.c_str() + 6);
		else if (kind == "oom") p.result = CUDA_ERROR_OUT_OF_MEMORY;
		else if (kind == "initfail") p.result = CUDA_ERROR_UNKNOWN;
		else if (kind == "illegal") p.result = CUDA_ERROR_ILLEGAL_ADDRESS, p.later = true;
		else if (kind == "ecc") p.result = CUDA_ERROR_ECC_UNCORRECTABLE, p.later = true;
		else if (kind == "wrongdev") {
			p.later = op.compare(0, 6, "Memcpy") != 0;
			p.result = p.later ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_ERROR_INVALID_VALUE;
		} else if (kind == "nan") p.spoil = true;
		else if (kind.compare(0, 5, "slow=") == 0) p.slow_ms = strtoull(kind.c_str() + 5, nullptr, 10);
		else found("SIM_FAULT: no fault \"%s\"", kind.c_str());
	}
	return p;
}

} // namespace sim
