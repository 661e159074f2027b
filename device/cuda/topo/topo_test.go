// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package topo

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"octet/internal/datadriven"
)

// TestServers reads hosts that NVML's own mock plays, with the links, CPUs and fabric
// that it lacks from the text of each file.
func TestServers(t *testing.T) {
	var host *Host
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		switch c.Cmd {
		case "server":
			var err error
			if host, err = Read(play(t, c)); err != nil {
				return err.Error()
			}
			return strings.Join(host.Faults, "\n")
		case "matrix":
			return host.Matrix()
		case "islands":
			return fmt.Sprint(host.Islands())
		case "visible":
			gpus, err := host.Visible(func(key string) (string, bool) { v, ok := c.Vals[key]; return v, ok })
			if err != nil {
				return err.Error()
			}
			var names []string
			for _, g := range gpus {
				names = append(names, fmt.Sprintf("GPU%d %s cc %d.%d %s", g.Index, g.Name, g.Major, g.Minor, g.PCI))
			}
			return strings.Join(names, "\n")
		case "crossing":
			if text := host.Crossing(host.GPUs[:c.Int(t, "gpus", len(host.GPUs))], c.Int(t, "degree", 1)); text != "" {
				return text
			}
			return "within NVLink"
		case "bind":
			return bind(t, c, host)
		}
		t.Fatalf("%s: no command %q", c.Pos, c.Cmd)
		return ""
	})
}

// bind tells which CPUs a rule gives the ranks of a host with so many cores of two CPUs.
func bind(t *testing.T, c *datadriven.Case, host *Host) string {
	gpus, err := host.Visible(func(key string) (string, bool) { v, ok := c.Vals[key]; return v, ok })
	if err != nil {
		return err.Error()
	}
	cores := c.Int(t, "cores", 0)
	allowed, err := ParseCPUList(cmp.Or(c.Vals["allowed"], fmt.Sprintf("0-%d", 2*cores-1)))
	if err != nil {
		t.Fatal(err)
	}
	var cpus []CPU
	for _, n := range allowed {
		core, socket := n%cores, cores/c.Int(t, "sockets", 1)
		cpus = append(cpus, CPU{Number: n, Socket: core / socket, Core: core % socket, Cache: core - core%c.Int(t, "cache", 1)})
	}
	of, err := Rule(c.Vals["rule"]).Bind(gpus, cpus, c.Int(t, "ranks", 1))
	if err != nil {
		return err.Error()
	}
	var lines []string
	for r, of := range of {
		lines = append(lines, fmt.Sprintf("rank %d: %s", r, CPUList(of)))
	}
	return strings.Join(lines, "\n")
}

// play makes a mock of the GPUs that the case lists, one a line: its name, and words of
// the form key=value (see gpu).
func play(t *testing.T, c *datadriven.Case) *nvmlSource {
	server := dgxa100.New()
	lines := strings.Split(strings.TrimSpace(c.Input), "\n")
	sys := fstest.MapFS{}
	for i, line := range lines {
		gpu(t, server.Devices[i].(*dgxa100.Device), sys, i, line)
	}
	server.DeviceGetCountFunc = func() (int, nvml.Return) { return len(lines), nvml.SUCCESS }
	if r, ok := c.Vals["count"]; ok {
		n, _ := strconv.Atoi(r)
		server.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.Return(n) }
	}
	return &nvmlSource{lib: server, sys: sys}
}

// gpu sets one mock: cc, memory (MiB), pci (the bus), links (target:lanes, by bus or
// "switch"), cpus, sysfs (CPUs that only sysfs knows), numa, fabric (state:status), mig, and
// fail=CALL:CODE.
func gpu(t *testing.T, d *dgxa100.Device, sys fstest.MapFS, i int, line string) {
	t.Helper()
	v := map[string]string{}
	var name []string
	for _, word := range strings.Fields(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			v[key] = value
		} else {
			name = append(name, word)
		}
	}
	failing, code, _ := strings.Cut(v["fail"], ":")
	n, _ := strconv.Atoi(code)
	result := func(call string) nvml.Return {
		if call == failing {
			return nvml.Return(n)
		}
		return nvml.SUCCESS
	}
	pci := func(bus string) (p nvml.PciInfo) {
		copy(p.BusId[:], "00000000:"+strings.ToUpper(bus)+":00.0")
		return p
	}
	d.UUID = fmt.Sprintf("GPU-%08x-0000-0000-0000-000000000000", 0xa0b1c2d0+i)
	major, minor, _ := strings.Cut(v["cc"], ".")
	d.CudaComputeCapability.Major, _ = strconv.Atoi(major)
	d.CudaComputeCapability.Minor, _ = strconv.Atoi(minor)
	memory, _ := strconv.ParseUint(v["memory"], 10, 64)
	d.MemoryInfo = nvml.Memory{Total: memory << 20, Used: 1 << 30}
	d.MigMode, _ = strconv.Atoi(v["mig"])
	d.GetNameFunc = func() (string, nvml.Return) { return strings.Join(name, " "), result("GetName") }
	d.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) { return pci(v["pci"]), nvml.SUCCESS }
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
		return nvml.Utilization{Gpu: 97, Memory: 40}, result("GetUtilizationRates")
	}
	d.GetClockInfoFunc = func(which nvml.ClockType) (uint32, nvml.Return) {
		if which != nvml.CLOCK_SM {
			return 0, nvml.ERROR_INVALID_ARGUMENT
		}
		return 1980, nvml.SUCCESS
	}

	var ends []string // of each link
	for target := range strings.SplitSeq(v["links"], ",") {
		end, lanes, _ := strings.Cut(target, ":")
		for k, _ := strconv.Atoi(lanes); k > 0; k-- {
			ends = append(ends, end)
		}
	}
	d.GetNvLinkStateFunc = func(link int) (nvml.EnableState, nvml.Return) {
		switch {
		case result("GetNvLinkState") != nvml.SUCCESS:
			return 0, result("GetNvLinkState")
		case len(ends) == 0:
			return 0, nvml.ERROR_NOT_SUPPORTED
		case link >= len(ends):
			return nvml.FEATURE_DISABLED, nvml.SUCCESS
		}
		return nvml.FEATURE_ENABLED, nvml.SUCCESS
	}
	d.GetNvLinkRemoteDeviceTypeFunc = func(link int) (nvml.IntNvLinkDeviceType, nvml.Return) {
		if ends[link] == "switch" {
			return nvml.NVLINK_DEVICE_TYPE_SWITCH, nvml.SUCCESS
		}
		return nvml.NVLINK_DEVICE_TYPE_GPU, nvml.SUCCESS
	}
	d.GetNvLinkRemotePciInfoFunc = func(link int) (nvml.PciInfo, nvml.Return) { return pci(ends[link]), nvml.SUCCESS }

	cpus, err := ParseCPUList(v["cpus"])
	d.GetCpuAffinityFunc = func(int) ([]uint, nvml.Return) {
		if err != nil {
			return nil, nvml.ERROR_NOT_SUPPORTED
		}
		masks := make([]uint, 8)
		for _, c := range cpus {
			masks[c/64] |= 1 << (c % 64)
		}
		return masks, nvml.SUCCESS
	}
	folder := "bus/pci/devices/0000:" + v["pci"] + ":00.0/"
	for file, text := range map[string]string{"numa_node": v["numa"], "local_cpulist": v["sysfs"]} {
		if text != "" {
			sys[folder+file] = &fstest.MapFile{Data: []byte(text + "\n")}
		}
	}
	state, status, known := strings.Cut(v["fabric"], ":")
	d.GetGpuFabricInfoFunc = func() (info nvml.GpuFabricInfo, r nvml.Return) {
		if !known {
			return info, nvml.ERROR_NOT_SUPPORTED
		}
		n, _ := strconv.Atoi(state)
		s, _ := strconv.Atoi(status)
		return nvml.GpuFabricInfo{State: uint8(n), Status: uint32(s)}, nvml.SUCCESS
	}
}

func TestWatch(t *testing.T) {
	server := dgxa100.New()
	gpu(t, server.Devices[3].(*dgxa100.Device), fstest.MapFS{}, 3, "NVIDIA H100 80GB HBM3 cc=9.0 memory=81559 pci=4c")
	usage, done, err := watch(server, "0000:03:00.0")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	got, err := usage()
	if want := (Usage{Memory: 1 << 30, Total: 81559 << 20, Utilization: 97, ClockMHz: 1980}); err != nil || got != want {
		t.Errorf("usage is %+v, %v; want %+v", got, err, want)
	}
	if _, _, err := watch(server, "0000:ff:00.0"); err == nil || !strings.Contains(err.Error(), "0000:ff:00.0") {
		t.Errorf("a GPU that is not there: %v, want its address", err)
	}
}

func TestCPULists(t *testing.T) {
	for _, list := range []string{"0", "0-3", "0-3,8", "1,3,5-6,120-127"} {
		cpus, err := ParseCPUList(list)
		if err != nil || CPUList(cpus) != list {
			t.Errorf("%s: %v as %q, %v", list, cpus, CPUList(cpus), err)
		}
	}
	for _, bad := range []string{"", "a", "3-1", "-1", "0,0", "4,2", "0-99999999", "1,,2"} {
		if cpus, err := ParseCPUList(bad); err == nil {
			t.Errorf("%q is accepted as %v", bad, cpus)
		}
	}
}

// TestOpenWithoutNVML runs where there is no driver, as on every machine of CI.
func TestOpenWithoutNVML(t *testing.T) {
	if _, err := os.Stat("/proc/driver/nvidia"); err == nil {
		t.Skip("this machine has an NVIDIA driver; the test is of those that have none")
	}
	if _, err := Open(); err == nil || !strings.Contains(err.Error(), ErrNoNVML.Error()) {
		t.Errorf("error %v, want %v", err, ErrNoNVML)
	}
}
