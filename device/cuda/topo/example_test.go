// SPDX-License-Identifier: Apache-2.0

package topo_test

import (
	"fmt"

	"octet/device/cuda/topo"
)

// Two pairs of GPUs, each with a bridge of four lanes: a tensor axis of two fits, one of
// four does not.
func Example() {
	host := topo.Host{GPUs: make([]topo.GPU, 4)}
	for i := range host.GPUs {
		host.GPUs[i] = topo.GPU{Index: i, Lanes: map[int]int{i ^ 1: 4}}
	}
	fmt.Print(host.Matrix())
	fmt.Println(host.Islands())
	fmt.Printf("%q\n", host.Crossing(host.GPUs, 2))
	fmt.Println(host.Crossing(host.GPUs, 4))
	// Output:
	//       GPU0  GPU1  GPU2  GPU3  CPUs  NUMA
	// GPU0  X     NV4   NODE  NODE  ?     0
	// GPU1  NV4   X     NODE  NODE  ?     0
	// GPU2  NODE  NODE  X     NV4   ?     0
	// GPU3  NODE  NODE  NV4   X     ?     0
	// [[0 1] [2 3]]
	// ""
	// a tensor axis of 4 leaves NVLink: local ranks 0-3 (GPU 0 and GPU 2: NODE); the largest island has 2: [0 1]
}
