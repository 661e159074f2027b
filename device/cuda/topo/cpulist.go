// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"fmt"
	"strconv"
	"strings"
)

// CPUList is CPUs as Linux writes them, such as "0-3,8".
func CPUList(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, cpus[i])
		if j > i {
			fmt.Fprintf(&b, "-%d", cpus[j])
		}
		i = j + 1
	}
	return b.String()
}

// maxCPU is above the number of any CPU that Linux can have.
const maxCPU = 1 << 16

// ParseCPUList is CPUList's other way.
func ParseCPUList(text string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(text, ",") {
		lo, hi, ranged := strings.Cut(part, "-")
		if !ranged {
			hi = lo
		}
		a, err1 := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || a < 0 || a > b || b >= maxCPU || len(cpus) > 0 && a <= cpus[len(cpus)-1] {
			return nil, fmt.Errorf("%q is no ascending list of CPUs such as 0-3,8", text)
		}
		for c := a; c <= b; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}
