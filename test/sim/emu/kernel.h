// SPDX-License-Identifier: Apache-2.0

// A registered kernel, as the registry and the scheduler see it.

#pragma once

#include "block.h"

struct sim_kernel {
	std::string name;
	uint32_t threads;
	std::vector<std::string> arguments; // their declarations
	emu::bound does;
};

namespace emu {
ranges ranges_of(const sim_kernel &k, void *const *params);
void run(const sim_kernel &k, const sim_launch &launch, sim_report &report);
} // namespace emu
