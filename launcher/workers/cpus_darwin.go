// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"errors"

	"octet/device/cuda/topo"
)

// CPUs are known under Linux only.
func CPUs() ([]topo.CPU, error) { return nil, errors.New("this system binds no process to CPUs") }

func onCPUs(_ []int, start func() error) error { return start() }
