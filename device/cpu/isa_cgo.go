// SPDX-License-Identifier: Apache-2.0

//go:build cgo && amd64

package cpu

/*
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static int has_fp16(void) {
	unsigned a, b, c, d;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 23 & 1);
}

// Linux gives a process AMX's registers when it asks for them; asking again
// changes nothing. It refuses where it, or the hypervisor, does not save them.
static int permit_amx(void) {
#ifdef __linux__
	enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
	return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
#else
	return 0;
#endif
}
*/
import "C"

import "golang.org/x/sys/cpu"

// haveC: the C kernels are part of this build.
const haveC = true

// detect asks the processor; x/sys/cpu also asks whether the system saves the
// wide registers.
func detect() map[ISA]bool {
	x := cpu.X86
	wide := x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VBMI
	return map[ISA]bool{
		AVX2:       x.HasAVX2 && x.HasFMA,
		AVX512:     wide,
		AVX512BF16: wide && x.HasAVX512BF16,
		AVX512FP16: wide && C.has_fp16() != 0,
		AMXBF16:    wide && x.HasAVX512BF16 && x.HasAMXTile && x.HasAMXBF16 && C.permit_amx() != 0,
	}
}
