// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// MachineMemory is the memory of the machine in bytes, or the limit of a container (cgroup) where that is less; 0 where
// it is not known.
func MachineMemory() int64 {
	total, _ := memoryOf(os.DirFS("/"))
	return total
}

// FreeMemory is what is left of it, with what the kernel only keeps of files; 0 where it is not known.
func FreeMemory() int64 {
	_, free := memoryOf(os.DirFS("/"))
	return free
}

// memoryOf reads the kernel's files below root.
func memoryOf(root fs.FS) (total, free int64) {
	meminfo := numbers(root, "proc/meminfo")
	total, free = meminfo["MemTotal:"]<<10, meminfo["MemAvailable:"]<<10
	for _, g := range cgroups(root) {
		limit, ok := number(root, g.folder, g.limit)
		if !ok || total > 0 && limit >= total { // no limit is "max", or a number beyond any memory
			continue
		}
		total = limit
		used, _ := number(root, g.folder, g.used)
		cached := numbers(root, path.Join(g.folder, "memory.stat"))[g.cached]
		if left := max(0, limit-used+cached); free == 0 || left < free {
			free = left
		}
	}
	return total, free
}

// cgroup is a group of processes with a limit, and the names of its files.
type cgroup struct{ folder, limit, used, cached string }

// cgroups are those that this process is in, of both versions, each with all groups around it.
func cgroups(root fs.FS) (all []cgroup) {
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(f) < 3 {
			continue
		}
		g := cgroup{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"}
		if slices.Contains(strings.Split(f[1], ","), "memory") {
			g = cgroup{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
		} else if f[1] != "" {
			continue
		}
		// In a container the path may be the host's, of which only the end of the tree is there: its root.
		for top, at := g.folder, strings.Trim(f[2], "/"); ; at = path.Dir(at) {
			g.folder = path.Join(top, at)
			all = append(all, g)
			if at == "." || at == "" {
				break
			}
		}
	}
	return all
}

// number is the number that a file has; false where it has none.
func number(root fs.FS, folder, name string) (int64, bool) {
	text, err := fs.ReadFile(root, path.Join(folder, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return n, err == nil
}

// numbers are those of a file's lines "name number …".
func numbers(root fs.FS, name string) map[string]int64 {
	text, _ := fs.ReadFile(root, name)
	all := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				all[f[0]] = n
			}
		}
	}
	return all
}
