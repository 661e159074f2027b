// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !linux

package nccl

import (
	"octet/comm"
	"octet/device"
	"octet/device/cuda/api"
)

// Connect fails: libraries of NVIDIA's cannot be called in this build.
func Connect(device.Device, comm.ControlGroup, Options) (comm.Comm, error) { return nil, api.ErrNoCgo }
