// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Matrix prints how each pair of GPUs is connected, in the words of nvidia-smi topo -m:
// NV and the number of lanes, NODE for PCIe within a NUMA node, SYS between nodes.
func (h *Host) Matrix() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i := range h.GPUs {
		fmt.Fprintf(w, "\tGPU%d", i)
	}
	fmt.Fprint(w, "\tCPUs\tNUMA\n")
	for i, g := range h.GPUs {
		fmt.Fprintf(w, "GPU%d", i)
		for j := range h.GPUs {
			fmt.Fprint(w, "\t", h.connection(i, j))
		}
		cpus, node := "?", "?"
		if len(g.CPUs) > 0 {
			cpus = CPUList(g.CPUs)
		}
		if g.NUMA >= 0 {
			node = fmt.Sprint(g.NUMA)
		}
		fmt.Fprintf(w, "\t%s\t%s\n", cpus, node)
	}
	_ = w.Flush() // a strings.Builder does not fail
	return b.String()
}

func (h *Host) connection(i, j int) string {
	a, b := &h.GPUs[i], &h.GPUs[j]
	switch {
	case i == j:
		return "X"
	case a.Lanes[j] > 0:
		return fmt.Sprintf("NV%d", a.Lanes[j])
	case h.Linked(i, j):
		return fmt.Sprintf("NV%d", min(a.Switch, b.Switch))
	case a.NUMA >= 0 && a.NUMA == b.NUMA:
		return "NODE"
	default:
		return "SYS"
	}
}

// Crossing says which groups of a mesh's innermost axis leave NVLink: local rank r has
// gpus[r], and degree ranks that follow one another are a group, the tensor axis of
// torchtitan's order. Empty if every group lies within an island.
func (h *Host) Crossing(gpus []GPU, degree int) string {
	if degree > len(gpus) {
		return fmt.Sprintf("a tensor axis of %d leaves this host, which has %d GPUs for it", degree, len(gpus))
	}
	var bad []string
	for lo := 0; lo+degree <= len(gpus) && degree > 1; lo += degree {
		if i, j, apart := h.apart(gpus[lo : lo+degree]); apart {
			bad = append(bad, fmt.Sprintf("local ranks %d-%d (GPU %d and GPU %d: %s)", lo, lo+degree-1, i, j, h.connection(i, j)))
		}
	}
	if bad == nil {
		return ""
	}
	largest := slices.MaxFunc(h.Islands(), func(a, b []int) int { return len(a) - len(b) })
	return fmt.Sprintf("a tensor axis of %d leaves NVLink: %s; the largest island has %d: %v", degree, strings.Join(bad, ", "), len(largest), largest)
}

// apart finds two of the GPUs that NVLink does not connect.
func (h *Host) apart(gpus []GPU) (i, j int, ok bool) {
	for k, a := range gpus {
		for _, b := range gpus[:k] {
			if !h.Linked(a.Index, b.Index) {
				return b.Index, a.Index, true
			}
		}
	}
	return 0, 0, false
}
