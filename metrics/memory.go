// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// RSS is the resident memory of this process in bytes, memory shared with other
// processes included. Where there is no /proc it is what the Go runtime has taken
// from the system.
func RSS() int64 {
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			return pages * int64(os.Getpagesize())
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.Sys)
}

// MachineMemory is the memory of the machine in bytes, or the limit of the
// container (cgroup v2) where that is less; 0 where it is not known.
func MachineMemory() int64 {
	total := memTotal()
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		// Without a limit the file says "max", which is no number.
		limit, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
		if err == nil && (total == 0 || limit < total) {
			return limit
		}
	}
	return total
}

// memTotal is the line "MemTotal:   123 kB" of /proc/meminfo.
func memTotal() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == "MemTotal:" {
			kib, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10
		}
	}
	return 0
}
