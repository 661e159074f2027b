// SPDX-License-Identifier: Apache-2.0

// What a test asks of the simulated driver, beside what it exports of libcuda.
//
// The environment is read when the first context of a device is made:
//
//	SIM_DEVICES  how many there are (8)         SIM_MEMORY  bytes of each (4 GiB)
//	SIM_CC       compute capability (90)        SIM_DELAY   at most so many µs before an operation
//	SIM_MODE     late, lazy, random, eager      SIM_SEED    of what is drawn
//	SIM_FAULT    faults.h                       SIM_KERNELS the path of libsimkernels.so
//
//	late    nothing runs until the host waits; then what it waits for last, and of other
//	        streams no more than that needs
//	lazy    nothing runs until the host waits; then in random order
//	random  in random order
//	eager   in the order of the calls
//
// With SIM_CLOCK=work the times of events are the same in every run: what a stream's work has touched by then, at
// 1 GB/s. Without it they are the host's.

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

// sim_findings writes what was found wrong since the last sim_reset, a line each and once, as
// far as it fits, and returns how many bytes there are: races, accesses out of bounds, memory
// freed while it is used, copies of host memory that is not pinned.
size_t sim_findings(char *text, size_t size);

// sim_count is how often something happened since the last sim_reset: "launches", "copies",
// "sets", "records", "waits" (of streams), "host waits", "allocations", or "launch NAME", all as calls;
// "graph launches", and "graph steps" that they have run;
// "modules beside collectives", "memory
// beside collectives": loaded, or taken or given back, while a stream waits for another rank. "live" is the bytes that are allocated now, "peak" the most there were,
// "streams" those that there are now.
uint64_t sim_count(const char *what);

void sim_reset(void);

// sim_name has findings call a stream by a name.
void sim_name(void *stream, const char *name);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
