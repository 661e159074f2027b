// SPDX-License-Identifier: Apache-2.0

// The CUDA driver, which is all that this library stands on: it is opened by name, as
// NCCL does, and knows nothing of what is behind it.

#pragma once

#include <stdint.h>

#include <string>

#include "exports_nccl.h"

// failure ends a call of the library's with a result and its text.
struct failure {
	ncclResult_t result;
	std::string text;
};

[[noreturn]] void fail(ncclResult_t result, const char *format, ...) __attribute__((format(printf, 2, 3)));

// driver is the opened driver; fail where there is none.
const octet_cuda &driver();

// check fails unless a call of the driver's went well.
void check(CUresult r, const char *call);
#define DRIVER(call, ...) check(driver().call(__VA_ARGS__), #call)

// in_context makes a context current and puts back what was.
struct in_context {
	CUcontext before = nullptr;
	explicit in_context(CUcontext c);
	~in_context();
	in_context(const in_context &) = delete;
};

// reduce_kernel loads octet's kernel reduce_ranks into the current context, whose end
// unloads it.
CUfunction reduce_kernel();
