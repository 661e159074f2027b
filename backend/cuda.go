// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"octet/comm"
	"octet/device/cuda"
	"octet/device/cuda/api"
	"octet/nccl"
)

// openCUDA opens the GPU of a rank's number on its host.
func openCUDA(o Options) (*Device, error) {
	dev, err := cuda.Open(cuda.Options{Ordinal: o.GPU, BlockingSync: o.GPU >= runtime.NumCPU()})
	if err != nil {
		return nil, notHere(err)
	}
	return &Device{Device: dev, Peak: dev.Peak, Warning: dev.Warning()}, nil
}

// connectNCCL connects ranks that have a GPU each.
func connectNCCL(dev *Device, control comm.ControlGroup, o Options) (comm.Comm, error) {
	c, err := nccl.Connect(dev, control, nccl.Options{Dump: o.Dump, Fatal: o.Fatal})
	return c, notHere(err)
}

// CheckComm finds why so many ranks of a device could not be connected.
func CheckComm(device string, world int) error {
	if device != "cuda" || world == 1 {
		return nil
	}
	_, err := api.OpenNCCL(api.System(), nil)
	return err
}

// notHere says, of an error that another machine would not have, that it is of this one.
func notHere(err error) error {
	if _, ok := errors.AsType[*api.NotFound](err); ok || errors.Is(err, api.ErrNoCgo) {
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	return err
}

// memoryOfGPUs is what the GPUs of the ranks have together.
func memoryOfGPUs(ranks int) (bytes int64, err error) {
	gpus, err := cuda.Check(api.Search{}, ranks)
	for _, g := range gpus {
		bytes += g.Memory
	}
	return bytes, err
}

// CheckFloat8 finds why the devices of the ranks on one host cannot multiply in float8.
func CheckFloat8(device string, ranks int) error {
	if device != "cuda" {
		return nil
	}
	gpus, err := cuda.Check(api.Search{}, ranks)
	for _, g := range gpus {
		if g.Capability < 89 {
			return fmt.Errorf("quantize.linear.float8 needs compute capability 8.9; this GPU is %d.%d: remove it from model.converters, "+
				"or set quantize.linear.float8.emulate = true (slow, for tests)", g.Capability/10, g.Capability%10)
		}
	}
	return err
}

// Inspect writes which libraries of NVIDIA's and which GPUs are on this machine, and what
// was tried to find them.
func Inspect(w io.Writer) { cuda.Inspect(api.System()).Write(w) }
