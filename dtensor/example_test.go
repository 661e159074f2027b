// SPDX-License-Identifier: Apache-2.0

package dtensor_test

import (
	"fmt"

	"octet/dtensor"
)

// A weight that tensor parallelism cut first and FSDP second, as rank 5 of 8 has it.
func Example() {
	mesh, err := dtensor.NewMesh(8, dtensor.Axis{Name: "fsdp", Size: 4}, dtensor.Axis{Name: "tp", Size: 2})
	if err != nil {
		panic(err)
	}
	ranks, color, key := mesh.Group(5, "fsdp")
	fmt.Println("it gathers from ranks", ranks, "after Split of color", color, "and key", key)

	w := dtensor.NewLayout(mesh, []int{4096, 1024}).Place("tp", dtensor.Shard(0)).Place("fsdp", dtensor.Shard(0))
	offsets, sizes := w.Local(5)
	fmt.Println(w)
	fmt.Println("a box of", sizes, "at", offsets)
	// Output:
	// it gathers from ranks [1 3 5 7] after Split of color 1 and key 2
	// [Shard(0), Shard(0)] over (fsdp=4, tp=2), dim 0 by tp then fsdp
	// a box of [512 1024] at [3072 0]
}
