// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"fmt"
	"strconv"
	"strings"
)

// Visible is the GPUs that CUDA shows a process with these environment variables, in
// CUDA's order. CUDA_VISIBLE_DEVICES lists numbers or beginnings of UUIDs; the first entry
// that means no GPU ends the list, as in the driver; an empty list shows none. Its numbers are those of
// CUDA_DEVICE_ORDER: by PCI address if that is PCI_BUS_ID, otherwise fastest first, which
// is the same order where all GPUs are of one kind. Where they are not, numbers cannot be
// told apart, and the error says what to set.
func (h *Host) Visible(lookup func(string) (string, bool)) ([]GPU, error) {
	const variable = "CUDA_VISIBLE_DEVICES"
	list, listed := lookup(variable)
	if order, _ := lookup("CUDA_DEVICE_ORDER"); order != "PCI_BUS_ID" && !h.alike() && !strings.HasPrefix(strings.TrimSpace(list), "GPU-") {
		return nil, fmt.Errorf("the GPUs of this host are of different kinds, and CUDA numbers the fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name them by UUID in %s", variable)
	}
	if !listed {
		return whole(h.GPUs)
	}
	var visible []GPU
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if strings.HasPrefix(entry, "MIG-") {
			return nil, fmt.Errorf("%s: %s is an instance of a GPU (MIG), which octet does not use: name whole GPUs", variable, entry)
		}
		g, ok := h.find(entry)
		if !ok {
			break
		}
		for _, v := range visible {
			if v.Index == g.Index {
				return nil, fmt.Errorf("%s=%s names %s twice: CUDA then shows no GPU", variable, list, entry)
			}
		}
		visible = append(visible, g)
	}
	return whole(visible)
}

// whole refuses GPUs that are cut into instances: of those CUDA shows one instance.
func whole(gpus []GPU) ([]GPU, error) {
	for _, g := range gpus {
		if g.MIG {
			return nil, fmt.Errorf("GPU %d (%s) is cut into instances (MIG), which octet does not use: leave it out of CUDA_VISIBLE_DEVICES", g.Index, g.UUID)
		}
	}
	return gpus, nil
}

// find is the GPU that one entry of CUDA_VISIBLE_DEVICES means.
func (h *Host) find(entry string) (GPU, bool) {
	if n, err := strconv.Atoi(entry); err == nil {
		if n < 0 || n >= len(h.GPUs) {
			return GPU{}, false
		}
		return h.GPUs[n], true
	}
	var found []GPU
	for _, g := range h.GPUs {
		if strings.HasPrefix(entry, "GPU-") && strings.HasPrefix(strings.ToLower(g.UUID), strings.ToLower(entry)) {
			found = append(found, g)
		}
	}
	if len(found) != 1 {
		return GPU{}, false // none, or a beginning that several share
	}
	return found[0], true
}

// alike reports whether all GPUs are of one kind.
func (h *Host) alike() bool {
	for _, g := range h.GPUs {
		if g.Name != h.GPUs[0].Name || g.Memory != h.GPUs[0].Memory {
			return false
		}
	}
	return true
}
