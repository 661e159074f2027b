// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"octet/device/cuda/topo"
	"octet/launcher/agent"
)

// unbound is the value of --numa-binding that leaves ranks free. Torchrun has none: it never
// binds them unless it is told to.
const unbound = "none"

// checkBinding refuses what is no value of --numa-binding.
func (f *Flags) checkBinding() error {
	if v := f.numaBinding; v != "" && v != unbound && !slices.Contains(topo.Rules(), topo.Rule(v)) {
		return fmt.Errorf("--numa-binding %q: want node, socket, exclusive, core-complex or none", v)
	}
	return nil
}

// Bind decides on which CPUs the local ranks of o stay, and says so. device is what the
// program computes on, cpu or cuda, or "" for a program that octet does not know.
//
// Unless --numa-binding says otherwise, ranks that have a GPU each are bound to the CPUs beside it: those
// of octet on cuda, and those that --nproc-per-node counts by GPUs. Where that cannot be they are free,
// and the reason is said. A rule that was asked for is an error where it cannot be followed.
func (f *Flags) Bind(o *agent.Options, device string) error {
	rule, asked := topo.Rule(f.numaBinding), f.numaBinding != ""
	switch {
	case rule == unbound:
		return nil
	case !asked && (device == "cpu" || device == "" && !f.countedGPUs):
		return nil
	case !asked:
		rule = topo.Node
	}
	of, beside, err := f.bind(rule, device, o.LocalWorldSize)
	switch {
	case err == nil:
		o.Job.CPUs = of
		o.Say(bound(rule, of, beside, asked))
	case asked:
		return fmt.Errorf("--numa-binding %s: %w", rule, err)
	case !errors.Is(err, topo.ErrNoNVML): // without NVML nothing was to be expected
		o.Say(fmt.Sprintf("ranks are not bound to the CPUs beside their GPUs: %v", err))
	}
	return nil
}

// bind is the CPUs of each rank, and whether they are beside a GPU.
func (f *Flags) bind(rule topo.Rule, device string, ranks int) (of [][]int, beside bool, err error) {
	cpus, err := f.CPUs()
	if err != nil {
		return nil, false, err
	}
	gpus, err := f.GPUs()
	if rule == topo.Exclusive && (device == "cpu" || err != nil || len(gpus) < ranks) {
		of, err = topo.Shares(cpus, ranks)
		return of, false, err
	}
	if err == nil {
		of, err = rule.Bind(gpus, cpus, ranks)
	}
	return of, true, err
}

// bound tells where the ranks are, the first few groups that share their CPUs.
func bound(rule topo.Rule, of [][]int, beside, asked bool) string {
	const shown = 8
	text := fmt.Sprintf("--numa-binding %s: CPUs", rule)
	if beside {
		text += " beside the GPU"
	}
	text += " of local rank"
	for groups, lo := 0, 0; lo < len(of); groups++ {
		if groups == shown {
			return text + " …"
		}
		hi := lo + 1
		for hi < len(of) && slices.Equal(of[hi], of[lo]) {
			hi++
		}
		ranks := fmt.Sprint(lo)
		if hi > lo+1 {
			ranks = fmt.Sprintf("%d-%d", lo, hi-1)
		}
		text += fmt.Sprintf(" %s: %s;", ranks, topo.CPUList(of[lo]))
		lo = hi
	}
	text = strings.TrimSuffix(text, ";")
	if !asked {
		text += "; --numa-binding none leaves them free"
	}
	return text
}

// visibleGPUs are those that CUDA shows the ranks, which inherit this process's environment.
func visibleGPUs() ([]topo.GPU, error) {
	host, err := topo.Open()
	if err != nil {
		return nil, err
	}
	return host.Visible(os.LookupEnv)
}
