// SPDX-License-Identifier: Apache-2.0

package null_test

import (
	"fmt"

	"octet/comm"
	"octet/comm/null"
	"octet/comm/record"
	nodevice "octet/device/null"
	"octet/dtype"
	"octet/tensor"
)

// What rank 3 of 1024 would send, without the others.
func Example() {
	dev, sent := nodevice.Open(nodevice.Options{}), &record.Log{}
	c := record.New(null.New(3, 1024), sent)
	buf, err := dev.Alloc(4 << 20)
	if err != nil {
		panic(err)
	}
	c.AllReduce(dev.NewStream("compute"), comm.T(tensor.New(buf, dtype.Float32, 1<<20)), comm.Sum)
	fmt.Println("rank", c.Rank(), "of", c.Size(), "sends", sent.Bytes(), "bytes")
	// Output: rank 3 of 1024 sends 4194304 bytes
}
