// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"strings"
)

// ISA is an instruction set the kernels are written for, from slow to fast.
type ISA int

// The instruction sets. Portable is Go. A processor has any of the last three or
// none on top of AVX512.
const (
	Portable ISA = iota
	AVX2         // AVX2 and FMA
	AVX512       // F, BW, DQ, VL, VBMI
	AVX512FP16
	AVX512BF16
	AMXBF16 // tiles, which the system must permit
)

// String is the name OCTET_CPU_ISA takes.
func (i ISA) String() string {
	return [...]string{"portable", "avx2", "avx512", "avx512fp16", "avx512bf16", "amxbf16"}[i]
}

// available lists the instruction sets of this processor and build, the best
// last. Of AVX512FP16 and AVX512BF16 the first is preferred where both are
// there: such processors (Intel) run the bf16 dot at half the rate of f32. AMX has
// sixteen times that of f32.
func available() []ISA {
	has := detect()
	list := []ISA{Portable}
	for _, isa := range []ISA{AVX2, AVX512, AVX512BF16, AVX512FP16, AMXBF16} {
		if has[isa] {
			list = append(list, isa)
		}
	}
	return list
}

func chooseISA(name string) (ISA, error) {
	list := available()
	if name == "" {
		return list[len(list)-1], nil
	}
	var names []string
	for _, isa := range list {
		if isa.String() == name {
			return isa, nil
		}
		names = append(names, isa.String())
	}
	return 0, fmt.Errorf("%s is no instruction set of this machine; it has %s", name, strings.Join(names, ", "))
}
