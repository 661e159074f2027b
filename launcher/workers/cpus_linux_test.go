// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"testing"
	"testing/fstest"

	"octet/device/cuda/topo"
)

// The cache is that of the highest level which holds data; what is not told is 0.
func TestWhereACPULies(t *testing.T) {
	sys := fstest.MapFS{}
	for name, text := range map[string]string{
		"cpu9/topology/physical_package_id": "1", "cpu9/topology/core_id": "3",
		"cpu9/cache/index0/level": "1", "cpu9/cache/index0/type": "Data", "cpu9/cache/index0/shared_cpu_list": "9,25",
		"cpu9/cache/index1/level": "1", "cpu9/cache/index1/type": "Instruction", "cpu9/cache/index1/shared_cpu_list": "9,25",
		"cpu9/cache/index2/level": "3", "cpu9/cache/index2/type": "Unified", "cpu9/cache/index2/shared_cpu_list": "8-15,24-31",
		"cpu9/cache/index3/level": "4", "cpu9/cache/index3/type": "Instruction", "cpu9/cache/index3/shared_cpu_list": "0-31",
	} {
		sys[name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	for _, want := range []topo.CPU{{Number: 9, Socket: 1, Core: 3, Cache: 8}, {Number: 2}} {
		if got := where(sys, want.Number); got != want {
			t.Errorf("CPU %d: %+v, want %+v", want.Number, got, want)
		}
	}
}
