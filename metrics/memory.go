// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// Memory is in bytes.
type Memory struct {
	RSS   int64 // resident memory of this process, memory shared with other processes included
	Peak  int64 // the highest RSS so far
	Total int64 // memory of the machine; 0 where that is not known
}

// ReadMemory asks /proc. Where there is none, RSS and Peak are what the Go runtime has taken from the system.
func ReadMemory() Memory {
	var m Memory
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			m.RSS = pages * int64(os.Getpagesize())
		}
	}
	if m.RSS == 0 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		m.RSS = int64(stats.Sys)
	}
	// The kernel's page counters lag behind: the peak is never below the present.
	m.Peak = max(m.RSS, procKiB("/proc/self/status", "VmHWM:"))
	m.Total = procKiB("/proc/meminfo", "MemTotal:")
	return m
}

// procKiB finds the line "key   123 kB" and gives its bytes; 0 if there is none.
func procKiB(path, key string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == key {
			kib, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10
		}
	}
	return 0
}
