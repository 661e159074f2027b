// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"octet/device/cuda/topo"
	"octet/internal/auth"
	"octet/internal/datadriven"
	"octet/launcher/agent"
)

// TestCommandLines reads command lines, on a host without GPUs, with gpus=N, or with those whose CPUs are gpus=0-3/4-7: the input's lines NAME=value are the
// environment, any other are arguments. Random ids are shown as <random>.
func TestCommandLines(t *testing.T) {
	datadriven.Run(t, "testdata/flags.txt", func(t *testing.T, c *datadriven.Case) string {
		var args, env []string
		for line := range strings.Lines(c.Input) {
			if strings.HasPrefix(line, "PET_") || strings.HasPrefix(line, "TORCH") || strings.HasPrefix(line, "OCTET_") {
				env = append(env, strings.TrimSpace(line))
			} else {
				args = append(args, strings.Fields(line)...)
			}
		}
		f, err := Parse(args, env)
		if err != nil {
			return "exit 2: " + err.Error()
		}
		f.GPUs = func() ([]topo.GPU, error) { return gpus(t, c) }
		f.CPUs = func() (cpus []topo.CPU, err error) {
			for n := range c.Int(t, "cpus", 0) {
				cpus = append(cpus, topo.CPU{Number: n, Core: n})
			}
			return cpus, nil
		}
		var out strings.Builder
		o, err := f.Options(func(text string) { fmt.Fprintln(&out, text) })
		if err != nil {
			return "exit 1: " + err.Error()
		}
		switch c.Cmd {
		case "where":
			return where(f, o)
		case "bind":
			if err := f.Bind(&o, c.Vals["device"]); err != nil {
				return "exit 1: " + err.Error()
			}
			fmt.Fprint(&out, o.Job.CPUs)
			return out.String()
		}
		f.set.VisitAll(func(flag *pflag.Flag) {
			if flag.Changed {
				fmt.Fprintf(&out, "%s: %s\n", flag.Name, flag.Value)
			}
		})
		program, err := f.Command()
		if err != nil {
			return out.String() + err.Error()
		}
		fmt.Fprintf(&out, "program: %q\n", program)
		return out.String()
	})
}

// gpus are those of the case's host.
func gpus(t *testing.T, c *datadriven.Case) ([]topo.GPU, error) {
	text, ok := c.Vals["gpus"]
	if !ok {
		return nil, topo.ErrNoNVML
	}
	if n, err := strconv.Atoi(text); err == nil {
		return make([]topo.GPU, n), nil
	}
	var all []topo.GPU
	for list := range strings.SplitSeq(text, "/") {
		cpus, err := topo.ParseCPUList(list)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, topo.GPU{Index: len(all), CPUs: cpus})
	}
	return all, nil
}

// where says how the hosts meet.
func where(f *Flags, o agent.Options) string {
	id := o.RunID
	if len(id) == 26 {
		id = "<random>"
	}
	coordinator := map[agent.When]string{agent.Never: "another host", agent.IfLocal: "who can listen", agent.Always: "this host"}
	token := "random"
	if given, _ := auth.ParseSecret(f.token); !given.IsZero() && o.Secret == given {
		token = "given"
	} else if o.Secret == auth.Public() {
		token = "none"
	}
	return fmt.Sprintf("run %s, %d nodes of %d ranks, node rank %d, %s:%d, coordinator: %s, %v to join, token: %s",
		id, o.Nodes, o.LocalWorldSize, o.NodeRank, o.Addr, o.Port, coordinator[o.Coordinator], o.JoinTimeout, token)
}

// Every flag of torchrun 2.15 is known: used, or refused by name.
func TestTorchrunsFlagsAreKnown(t *testing.T) {
	const torchrun = `nnodes nproc-per-node rdzv-backend rdzv-endpoint rdzv-id rdzv-conf standalone max-restarts
		monitor-interval start-method event-log-handler role module no-python run-path log-dir redirects tee
		log-line-prefix-template local-ranks-filter duplicate-stdout-filters duplicate-stderr-filters node-rank
		master-addr master-port local-addr logs-specs numa-binding signals-to-handle shutdown-timeout
		virtual-local-rank print-completion`
	f := newFlags("")
	for _, name := range strings.Fields(torchrun) {
		if f.set.Lookup(name) == nil {
			t.Errorf("--%s is not known", name)
		}
	}
	for _, r := range refused {
		_, err := Parse([]string{"--" + r.name + "=1", "true"}, nil)
		if err == nil || !strings.Contains(err.Error(), "--"+r.name+" is not supported: "+r.why) {
			t.Errorf("--%s: %v", r.name, err)
		}
	}
}
