// SPDX-License-Identifier: Apache-2.0

// Package topo knows how the GPUs of a host are connected: to one another by NVLink,
// and to the CPUs. NVML, the driver's library of management, tells; whoever trains needs
// none of it, but ranks run best on the CPUs beside their GPU, and the tensor axis of a
// mesh best within one island of NVLink.
//
//	host, err := topo.Open()            // no NVML on the machine: ErrNoNVML
//	gpus, err := host.Visible(os.LookupEnv) // those that CUDA shows a process, in its order
//	fmt.Print(host.Matrix())            // as nvidia-smi topo -m
//
// A GPU is known by its UUID or its PCI address: CUDA and NVML number them apart, and
// CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER change CUDA's numbers.
package topo

import (
	"fmt"
	"slices"
)

// GPU is one GPU of a host. What NVML does not say of it has the zero value.
type GPU struct {
	Index  int    // NVML's number
	Name   string // such as "NVIDIA H100 80GB HBM3"
	UUID   string // "GPU-" and a UUID
	PCI    string // domain:bus:device.function, such as "0000:1b:00.0"
	Major  int    // compute capability
	Minor  int
	Memory int64 // bytes
	MIG    bool  // cut into instances: not used as a whole

	Lanes  map[int]int // active NVLink lanes to other GPUs, by index
	Switch int         // active lanes to an NVSwitch, which connects all that have some
	NUMA   int         // the host's NUMA node; -1: unknown
	CPUs   []int       // the CPUs beside it, ascending; empty: unknown
	Fabric Fabric      // of an NVSwitch system
}

// Fabric is whether the GPUs of an NVSwitch system have been joined.
type Fabric uint8

// The states of a fabric.
const (
	NoFabric      Fabric = iota // not such a system
	FabricReady                 // joined
	FabricStarts                // not yet
	FabricFailed                // joined without success
	FabricUnknown               // NVML could not say
)

// String is such as "ready".
func (f Fabric) String() string {
	return [...]string{"none", "ready", "starting", "failed", "unknown"}[f]
}

// Host is the GPUs of one host, in NVML's order.
type Host struct {
	GPUs   []GPU
	Faults []string // what NVML could not tell, one line each, for people
}

// Read asks a source for all that it knows. One GPU that does not answer fails all: a
// rank would meet it later, in the middle of a step.
func Read(from Source) (*Host, error) {
	n, err := from.Count()
	if err != nil {
		return nil, fmt.Errorf("counting GPUs: %w", err)
	}
	host := &Host{GPUs: make([]GPU, n)}
	for i := range host.GPUs {
		g := &host.GPUs[i]
		if *g, err = from.Identity(i); err != nil {
			return nil, fmt.Errorf("GPU %d: %w", i, err)
		}
		g.Index = i
	}
	tell := func(i int, what string, err error) {
		if err != nil {
			host.Faults = append(host.Faults, fmt.Sprintf("GPU %d: %s: %v", i, what, err))
		}
	}
	for i := range host.GPUs {
		g := &host.GPUs[i]
		peers, lanes, err := from.Links(i)
		tell(i, "NVLink", err)
		g.Lanes, g.Switch = host.byIndex(peers), lanes
		g.NUMA, g.CPUs, err = from.Affinity(i)
		tell(i, "CPUs beside it", err)
		g.Fabric, err = from.Fabric(i)
		tell(i, "fabric", err)
	}
	return host, nil
}

// byIndex renames lanes to GPUs from their PCI addresses; what ends elsewhere is dropped.
func (h *Host) byIndex(peers map[string]int) map[int]int {
	lanes := map[int]int{}
	for pci, n := range peers {
		if i := slices.IndexFunc(h.GPUs, func(g GPU) bool { return g.PCI == pci }); i >= 0 {
			lanes[i] = n
		}
	}
	return lanes
}

// Linked reports whether NVLink connects two GPUs, directly or by switches that have been joined.
func (h *Host) Linked(i, j int) bool {
	a, b := &h.GPUs[i], &h.GPUs[j]
	return i == j || a.Lanes[j] > 0 || a.Switch > 0 && b.Switch > 0 && a.Fabric <= FabricReady && b.Fabric <= FabricReady
}

// Islands are the sets of GPUs that NVLink connects, each ascending, by their first: a
// GPU is in an island if it is linked to all others of it, so that no pair of an island
// has to go by PCIe.
func (h *Host) Islands() [][]int {
	var islands [][]int
next:
	for i := range h.GPUs {
		for k, island := range islands {
			if !slices.ContainsFunc(island, func(j int) bool { return !h.Linked(i, j) }) {
				islands[k] = append(island, i)
				continue next
			}
		}
		islands = append(islands, []int{i})
	}
	return islands
}
