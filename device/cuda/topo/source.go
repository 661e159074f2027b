// SPDX-License-Identifier: Apache-2.0

package topo

import "errors"

// ErrNoNVML says that the machine has no NVML: no NVIDIA driver, or one without its
// library of management.
var ErrNoNVML = errors.New("no NVML (libnvidia-ml.so.1) on this machine")

// Source is what is asked of NVML. GPUs are numbered from 0, as NVML has them.
type Source interface {
	Count() (int, error)
	// Identity is the GPU without its surroundings.
	Identity(i int) (GPU, error)
	// Links are the active NVLink lanes: to other GPUs, by their PCI address, and to switches.
	Links(i int) (peers map[string]int, toSwitches int, err error)
	// Affinity is the NUMA node, -1 if unknown, and the CPUs beside the GPU.
	Affinity(i int) (node int, cpus []int, err error)
	Fabric(i int) (Fabric, error)
	// Usage is what the GPU does now.
	Usage(i int) (Usage, error)
}

// Usage is the state of a GPU at one moment.
type Usage struct {
	Memory      int64 // bytes in use, by all processes
	Total       int64 // bytes there are
	Utilization int   // per cent of the last sample period, of up to a second, in which a kernel ran
	ClockMHz    int   // of the multiprocessors
}
