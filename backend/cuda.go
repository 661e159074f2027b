// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"octet/comm"
	"octet/device/cuda"
	"octet/device/cuda/api"
	"octet/device/cuda/topo"
	"octet/metrics"
	"octet/nccl"
)

// openCUDA opens the GPU of a rank's number on its host.
func openCUDA(o Options) (*Device, error) {
	dev, err := cuda.Open(cuda.Options{Ordinal: o.GPU, BlockingSync: o.GPU >= runtime.NumCPU()})
	if err != nil {
		return nil, notHere(err)
	}
	d := &Device{Device: dev, Peak: dev.Peak, Warning: dev.Warning(), Tuner: dev}
	usage, done, err := topo.Watch(dev.Info().PCI)
	if err != nil {
		return d, nil //nolint:nilerr // a driver without NVML, or a GPU that it hides, trains as well
	}
	d.ended = done
	d.Usage = func() (metrics.GPU, error) {
		u, err := usage()
		return metrics.GPU{MemoryMB: float64(u.Memory) / (1 << 20), TotalMB: float64(u.Total) / (1 << 20), Utilization: u.Utilization, ClockMHz: u.ClockMHz}, err
	}
	return d, nil
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

// Inspect writes which libraries of NVIDIA's and which GPUs are on this machine, what was
// tried to find them, and how the GPUs are connected.
func Inspect(w io.Writer) {
	cuda.Inspect(api.System()).Write(w)
	host, err := topo.Open()
	inspectTopology(w, host, err, os.LookupEnv)
}

// inspectTopology writes the connections of a host, and which tensor axes would leave NVLink.
func inspectTopology(w io.Writer, host *topo.Host, err error, lookup func(string) (string, bool)) {
	if err != nil {
		fmt.Fprintf(w, "NVML: %v\n", err)
		return
	}
	fmt.Fprint(w, host.Matrix())
	for _, fault := range host.Faults {
		fmt.Fprintf(w, "not known: %s\n", fault)
	}
	gpus, err := host.Visible(lookup)
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	for degree := 2; degree <= len(gpus); degree *= 2 {
		if text := host.Crossing(gpus, degree); text != "" {
			fmt.Fprintln(w, text)
			break // a larger axis leaves it as well
		}
	}
}
