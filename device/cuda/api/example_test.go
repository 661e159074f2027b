// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"fmt"

	"octet/device/cuda/api"
)

// What octet calls of NCCL can be asked without any NCCL.
func Example() {
	for _, f := range api.Functions("nccl") {
		if f.Name == "ncclCommSplit" {
			fmt.Println(f.Name, "is there since", f.Since)
		}
	}
	// Output: ncclCommSplit is there since 2.18.1
}
