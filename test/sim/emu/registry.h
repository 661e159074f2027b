// SPDX-License-Identifier: Apache-2.0

// The kernels of device/cuda/kernels, compiled for this processor: what the simulated
// driver needs to know of one, and to run it. The library is libsimkernels.so.

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIM_API __attribute__((visibility("default")))

typedef struct sim_kernel sim_kernel;

// sim_range is what an argument of a launch touches. A kernel writes no other memory and
// reads none; which of a range's bytes it writes is not said.
typedef struct sim_range {
	const char *argument; // its declaration
	int index;            // and place; a list has many ranges
	uint64_t address, bytes;
	int writes;
} sim_range;

enum { sim_most_arguments = 32 };

// sim_launch is a launch. The parameters are as cuLaunchKernelEx has them: an address of
// each argument's bytes.
typedef struct sim_launch {
	uint32_t grid, block, shared; // blocks, threads of each, dynamic shared bytes
	void **params;
	uint64_t seed; // of the order of blocks and threads; 0: as they are numbered
} sim_launch;

// sim_report is what a launch came to. A fault is what a GPU would have failed on, or
// passed over: the kernel, the block and thread, and where it is in the text.
typedef struct sim_report {
	uint64_t bytes_read, bytes_written;                            // of global memory
	uint64_t read[sim_most_arguments], written[sim_most_arguments]; // by argument; of two at one address the first; of a list its tensors
	char fault[512];                                               // "" where there is none
} sim_report;

// sim_kernel_find is NULL where there is none of that name; sim_kernel_at goes over all,
// in order of their names, and is NULL behind the last.
SIM_API const sim_kernel *sim_kernel_find(const char *name);
SIM_API const sim_kernel *sim_kernel_at(size_t i);
SIM_API const char *sim_kernel_name(const sim_kernel *k);
SIM_API uint32_t sim_kernel_threads(const sim_kernel *k); // of a block: a launch must have as many

// The arguments: how many, and the bytes of each.
SIM_API size_t sim_kernel_params(const sim_kernel *k);
SIM_API size_t sim_kernel_param_bytes(const sim_kernel *k, size_t i);

// sim_kernel_ranges writes at most max ranges and returns how many there are. It reads a
// list's table from device memory, so it is for when the launch may run.
SIM_API size_t sim_kernel_ranges(const sim_kernel *k, void *const *params, sim_range *out, size_t max);

// sim_kernel_run runs a launch to its end on the calling thread. Addresses are read as
// host memory.
SIM_API void sim_kernel_run(const sim_kernel *k, const sim_launch *launch, sim_report *report);

#ifdef __cplusplus
}
#endif
