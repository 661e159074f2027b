// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"octet/device/cuda/topo"
)

// CPUs are those that this process may use: a container's or numactl's set where there is
// one.
func CPUs() ([]topo.CPU, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	sys := os.DirFS("/sys/devices/system/cpu")
	var all []topo.CPU
	for number := range 64 * len(set) {
		if set.IsSet(number) {
			all = append(all, where(sys, number))
		}
	}
	return all, nil
}

// where a CPU lies, by Linux's folder of CPUs; what that does not tell is 0.
func where(sys fs.FS, number int) topo.CPU {
	folder := fmt.Sprintf("cpu%d/", number)
	text := func(name string) string {
		text, _ := fs.ReadFile(sys, folder+name)
		return strings.TrimSpace(string(text))
	}
	num := func(name string) int {
		n, _ := strconv.Atoi(text(name))
		return n
	}
	c := topo.CPU{Number: number, Socket: num("topology/physical_package_id"), Core: num("topology/core_id")}
	largest := 0
	for i := 0; text(fmt.Sprintf("cache/index%d/level", i)) != ""; i++ {
		cache := fmt.Sprintf("cache/index%d/", i)
		level := num(cache + "level")
		if shared, err := topo.ParseCPUList(text(cache + "shared_cpu_list")); err == nil && level > largest && text(cache+"type") != "Instruction" {
			largest, c.Cache = level, shared[0]
		}
	}
	return c
}

// onCPUs calls start with this thread, which is locked to its goroutine, on cpus:
// processes that it starts stay there.
func onCPUs(cpus []int, start func() error) error {
	if cpus == nil {
		return start()
	}
	var before, set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	err := unix.SchedGetaffinity(0, &before)
	if err == nil {
		err = unix.SchedSetaffinity(0, &set)
	}
	if err != nil {
		return fmt.Errorf("binding to CPUs %v: %w", cpus, err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &before))
}
