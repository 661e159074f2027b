// SPDX-License-Identifier: Apache-2.0

// Faults on demand: SIM_FAULT is a list, separated by commas, of op[#n]@rank:kind. The
// op is a collective's, as "all-gather", or "init"; * is any. The n-th such call of a
// rank of the world, the first where n is left out, goes wrong in the way of its kind:
//
//	hang          it never completes; an abort releases it
//	lost          its peer is gone: the communicator's asynchronous error is 6
//	inprogress=n  the communicator is in progress for n polls, and only then enqueues
//	initfail      the communicator cannot be made
//	stuck         of "abort": it never returns
//
// Other kinds are the driver's.

#pragma once

#include <string>

struct fault {
	std::string kind; // "" is none
	int value = 0;
};

// fault_of is the fault of the n-th call of an op by a rank, from 1.
fault fault_of(const char *op, int n, int rank);
