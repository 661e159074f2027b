// SPDX-License-Identifier: Apache-2.0

// Fibers: stacks that change places. On x86-64 a switch is the six registers that a call
// keeps and the stack's; elsewhere it is ucontext's, which makes a system call.

#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emu {

#if defined(__x86_64__)

struct fiber {
	void *stack;
};

// change puts what runs into from and goes on with to.
extern "C" void octet_fiber_change(fiber *from, const fiber *to);
inline void change(fiber &from, const fiber &to) { octet_fiber_change(&from, &to); }

// begin makes f start in entry, on a stack that ends at top. Entry must not return.
inline void begin(fiber &f, char *, char *top, void (*entry)()) {
	auto *sp = reinterpret_cast<uint64_t *>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
	*--sp = 0;                                   // where entry would return to
	*--sp = reinterpret_cast<uint64_t>(entry);   // where the switch does
	for (int i = 0; i < 6; i++) *--sp = 0;       // rbx, rbp, r12 to r15
	f.stack = sp;
}

#else

struct fiber {
	ucontext_t context;
};

inline void change(fiber &from, const fiber &to) { swapcontext(&from.context, &to.context); }

inline void begin(fiber &f, char *bottom, char *top, void (*entry)()) {
	getcontext(&f.context);
	f.context.uc_stack.ss_sp = bottom;
	f.context.uc_stack.ss_size = static_cast<size_t>(top - bottom);
	f.context.uc_link = nullptr;
	makecontext(&f.context, entry, 0);
}

#endif

} // namespace emu
