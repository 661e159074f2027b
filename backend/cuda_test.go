// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"strings"
	"testing"

	"octet/device/cuda/topo"
)

func TestTheDoctorSaysHowGPUsAreConnected(t *testing.T) {
	pairs := &topo.Host{GPUs: make([]topo.GPU, 4), Faults: []string{"GPU 3: fabric: no permission"}}
	for i := range pairs.GPUs {
		pairs.GPUs[i] = topo.GPU{Index: i, Lanes: map[int]int{i ^ 1: 4}}
	}
	for _, tt := range []struct {
		name, visible string
		host          *topo.Host
		err           error
		want          string
	}{
		{"no NVML", "", nil, topo.ErrNoNVML, "NVML: no NVML (libnvidia-ml.so.1) on this machine\n"},
		{"two pairs", "0,1,2,3", pairs, nil, `      GPU0  GPU1  GPU2  GPU3  CPUs  NUMA
GPU0  X     NV4   NODE  NODE  ?     0
GPU1  NV4   X     NODE  NODE  ?     0
GPU2  NODE  NODE  X     NV4   ?     0
GPU3  NODE  NODE  NV4   X     ?     0
not known: GPU 3: fabric: no permission
a tensor axis of 4 leaves NVLink: local ranks 0-3 (GPU 0 and GPU 2: NODE); the largest island has 2: [0 1]
`},
		{"one of each pair", "0,2", &topo.Host{GPUs: pairs.GPUs}, nil, `      GPU0  GPU1  GPU2  GPU3  CPUs  NUMA
GPU0  X     NV4   NODE  NODE  ?     0
GPU1  NV4   X     NODE  NODE  ?     0
GPU2  NODE  NODE  X     NV4   ?     0
GPU3  NODE  NODE  NV4   X     ?     0
a tensor axis of 2 leaves NVLink: local ranks 0-1 (GPU 0 and GPU 2: NODE); the largest island has 2: [0 1]
`},
	} {
		var out strings.Builder
		inspectTopology(&out, tt.host, tt.err, func(string) (string, bool) { return tt.visible, tt.visible != "" })
		if out.String() != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, out.String(), tt.want)
		}
	}
}
