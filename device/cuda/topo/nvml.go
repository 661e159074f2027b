// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package topo

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Open reads the GPUs of this host. Without a driver it returns ErrNoNVML.
func Open() (*Host, error) {
	from, done, err := openNVML(nvml.New())
	if err != nil {
		return nil, err
	}
	defer done()
	return Read(from)
}

// Watch returns a function that reads the usage of the GPU with a PCI address, and one that ends it.
func Watch(pci string) (usage func() (Usage, error), done func(), err error) {
	return watch(nvml.New(), pci)
}

func watch(lib nvml.Interface, pci string) (usage func() (Usage, error), done func(), err error) {
	from, done, err := openNVML(lib)
	if err != nil {
		return nil, nil, err
	}
	d, r := from.lib.DeviceGetHandleByPciBusId(pci)
	if r != nvml.SUCCESS {
		done()
		return nil, nil, failed("DeviceGetHandleByPciBusId "+pci, r)
	}
	i, r := d.GetIndex()
	if r != nvml.SUCCESS {
		done()
		return nil, nil, failed("GetIndex of "+pci, r)
	}
	return func() (Usage, error) { return from.Usage(i) }, done, nil
}

// openNVML starts the library; done ends it.
func openNVML(lib nvml.Interface) (from *nvmlSource, done func(), err error) {
	switch r := lib.Init(); r {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return nil, nil, ErrNoNVML
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return nil, nil, fmt.Errorf("%w: its library is there, and the driver is not loaded", ErrNoNVML)
	default:
		return nil, nil, failed("Init", r)
	}
	return &nvmlSource{lib: lib, sys: os.DirFS("/sys")}, func() { _ = lib.Shutdown() }, nil
}

// nvmlSource is a Source over NVML, and over sysfs for what it does not know.
type nvmlSource struct {
	lib nvml.Interface
	sys fs.FS // of /sys
}

func failed(call string, r nvml.Return) error {
	return fmt.Errorf("NVML: %s: %s (%d)", call, nvml.ErrorString(r), int(r))
}

func (s *nvmlSource) Count() (int, error) {
	n, r := s.lib.DeviceGetCount()
	if r != nvml.SUCCESS {
		return 0, failed("DeviceGetCount", r)
	}
	return n, nil
}

func (s *nvmlSource) device(i int) (nvml.Device, error) {
	d, r := s.lib.DeviceGetHandleByIndex(i)
	if r != nvml.SUCCESS {
		return nil, failed(fmt.Sprintf("DeviceGetHandleByIndex(%d)", i), r)
	}
	return d, nil
}

func (s *nvmlSource) Identity(i int) (g GPU, err error) {
	d, err := s.device(i)
	if err != nil {
		return g, err
	}
	var r nvml.Return
	if g.Name, r = d.GetName(); r != nvml.SUCCESS {
		return g, failed("GetName", r)
	}
	if g.UUID, r = d.GetUUID(); r != nvml.SUCCESS {
		return g, failed("GetUUID", r)
	}
	if g.Major, g.Minor, r = d.GetCudaComputeCapability(); r != nvml.SUCCESS {
		return g, failed("GetCudaComputeCapability", r)
	}
	pci, r := d.GetPciInfo()
	if r != nvml.SUCCESS {
		return g, failed("GetPciInfo", r)
	}
	g.PCI = address(pci)
	memory, r := d.GetMemoryInfo()
	if r != nvml.SUCCESS {
		return g, failed("GetMemoryInfo", r)
	}
	g.Memory = int64(memory.Total)
	// GPUs that cannot be cut into instances say that they do not support the question.
	mode, _, r := d.GetMigMode()
	g.MIG = r == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE
	return g, nil
}

// address is a PCI address as sysfs writes it: a domain of four digits, in small letters.
// NVML's has eight.
func address(pci nvml.PciInfo) string {
	id, _, _ := bytes.Cut(pci.BusId[:], []byte{0})
	domain, rest, _ := strings.Cut(strings.ToLower(string(id)), ":")
	if len(domain) == 8 {
		domain = strings.TrimPrefix(domain, "0000")
	}
	return domain + ":" + rest
}

func (s *nvmlSource) Links(i int) (peers map[string]int, toSwitches int, err error) {
	d, err := s.device(i)
	if err != nil {
		return nil, 0, err
	}
	peers = map[string]int{}
	for link := range nvml.NVLINK_MAX_LINKS {
		state, r := d.GetNvLinkState(link)
		switch {
		case r == nvml.ERROR_NOT_SUPPORTED || r == nvml.ERROR_INVALID_ARGUMENT:
			return peers, toSwitches, nil // no NVLink, or no link of this number
		case r != nvml.SUCCESS:
			return nil, 0, failed(fmt.Sprintf("GetNvLinkState(%d)", link), r)
		case state != nvml.FEATURE_ENABLED:
			continue
		}
		// Old drivers do not know the kind of what is at the other end: then its address decides.
		if kind, r := d.GetNvLinkRemoteDeviceType(link); r == nvml.SUCCESS && kind == nvml.NVLINK_DEVICE_TYPE_SWITCH {
			toSwitches++
			continue
		}
		pci, r := d.GetNvLinkRemotePciInfo(link)
		if r != nvml.SUCCESS {
			return nil, 0, failed(fmt.Sprintf("GetNvLinkRemotePciInfo(%d)", link), r)
		}
		peers[address(pci)]++
	}
	return peers, toSwitches, nil
}

func (s *nvmlSource) Affinity(i int) (node int, cpus []int, err error) {
	d, err := s.device(i)
	if err != nil {
		return -1, nil, err
	}
	pci, r := d.GetPciInfo()
	if r != nvml.SUCCESS {
		return -1, nil, failed("GetPciInfo", r)
	}
	folder := "bus/pci/devices/" + address(pci) + "/"
	node = -1
	if text, err := fs.ReadFile(s.sys, folder+"numa_node"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			node = n
		}
	}
	masks, r := d.GetCpuAffinity(runtime.NumCPU())
	if r == nvml.SUCCESS {
		for w, mask := range masks {
			for m := mask; m != 0; m &= m - 1 {
				cpus = append(cpus, w*bits.UintSize+bits.TrailingZeros(m))
			}
		}
		return node, cpus, nil
	}
	text, err := fs.ReadFile(s.sys, folder+"local_cpulist")
	if err != nil {
		return node, nil, failed("GetCpuAffinity", r)
	}
	cpus, err = ParseCPUList(strings.TrimSpace(string(text)))
	return node, cpus, err
}

func (s *nvmlSource) Fabric(i int) (Fabric, error) {
	d, err := s.device(i)
	if err != nil {
		return FabricUnknown, err
	}
	info, r := d.GetGpuFabricInfo()
	switch {
	case r == nvml.ERROR_NOT_SUPPORTED || r == nvml.ERROR_FUNCTION_NOT_FOUND:
		return NoFabric, nil
	case r != nvml.SUCCESS:
		return FabricUnknown, failed("GetGpuFabricInfo", r)
	}
	switch info.State {
	case nvml.GPU_FABRIC_STATE_NOT_SUPPORTED:
		return NoFabric, nil
	case nvml.GPU_FABRIC_STATE_NOT_STARTED, nvml.GPU_FABRIC_STATE_IN_PROGRESS:
		return FabricStarts, nil
	case nvml.GPU_FABRIC_STATE_COMPLETED:
		if nvml.Return(info.Status) == nvml.SUCCESS {
			return FabricReady, nil
		}
	}
	return FabricFailed, nil
}

func (s *nvmlSource) Usage(i int) (u Usage, err error) {
	d, err := s.device(i)
	if err != nil {
		return u, err
	}
	memory, r := d.GetMemoryInfo()
	if r != nvml.SUCCESS {
		return u, failed("GetMemoryInfo", r)
	}
	rates, r := d.GetUtilizationRates()
	if r != nvml.SUCCESS {
		return u, failed("GetUtilizationRates", r)
	}
	clock, r := d.GetClockInfo(nvml.CLOCK_SM)
	if r != nvml.SUCCESS {
		return u, failed("GetClockInfo", r)
	}
	return Usage{Memory: int64(memory.Used), Total: int64(memory.Total), Utilization: int(rates.Gpu), ClockMHz: int(clock)}, nil
}
