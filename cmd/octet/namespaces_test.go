// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"octet/metrics"
)

// A namespaced host has a network and a namespace of processes of its own, so that
// its ranks share no memory with those of others and reach them over TCP alone.
type namespacedHost struct{ net, addr string }

// namespacedHosts makes two with a cable between them.
func namespacedHosts(t *testing.T) (hosts [2]namespacedHost) {
	t.Helper()
	must := func(command string) {
		t.Helper()
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs root and iproute2 to make two hosts of network and process namespaces: %s: %v: %s", command, err, out)
		}
	}
	for i := range hosts {
		hosts[i] = namespacedHost{fmt.Sprintf("octet%d-%d", os.Getpid(), i), fmt.Sprintf("10.77.0.%d", 1+i)}
		must("ip netns add " + hosts[i].net)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", hosts[i].net).Run() })
	}
	must(fmt.Sprintf("ip link add cable netns %s type veth peer name cable netns %s", hosts[0].net, hosts[1].net))
	for _, h := range hosts {
		must(fmt.Sprintf("ip -n %s addr add %s/24 dev cable", h.net, h.addr))
		must(fmt.Sprintf("ip -n %s link set cable up", h.net))
		must(fmt.Sprintf("ip -n %s link set lo up", h.net))
	}
	if out, err := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("needs unshare of util-linux and root: %v: %s", err, out)
	}
	return hosts
}

// octet makes, but does not start, an octet on the host.
func (h namespacedHost) octet(t *testing.T, args ...string) *process {
	inside := append([]string{"netns", "exec", h.net, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0]}, args...)
	p := octetProcess(t, inside...)
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip(err)
	}
	p.Path = path
	return p
}

// Two hosts train with the bits of one, over TCP alone.
func TestNamespacedHostsTrainAsOne(t *testing.T) {
	t.Parallel()
	hosts := namespacedHosts(t)
	one := t.TempDir()
	if code, stdout, stderr := run(t, append([]string{"run", "--nproc-per-node", "4"}, smallest(one)...)...); code != 0 {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	two := t.TempDir()
	var agents [2]*process
	for i, h := range hosts {
		flags := []string{"run", "--nnodes", "2", "--node-rank", fmt.Sprint(i), "--master-addr", hosts[0].addr, "--local-addr", h.addr, "--nproc-per-node", "2"}
		agents[i] = h.octet(t, append(flags, smallest(two)...)...)
		agents[i].Env = append(agents[i].Env, "OCTET_JOB_TOKEN=a-token-of-these-two-hosts")
	}
	start(t, agents[:]...)
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("host %d: code %d\n%s%s", i, code, a.stdout.String(), a.stderr.String())
		}
	}
	want, err := metrics.Read(one + "/metrics.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	got, err := metrics.Read(two + "/metrics.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Loss != want[i].Loss || got[i].GradNorm != want[i].GradNorm {
			t.Errorf("step %d: loss %v and norm %v, on one host %v and %v", want[i].Step, got[i].Loss, got[i].GradNorm, want[i].Loss, want[i].GradNorm)
		}
	}
}

// An address that is not this host's is found at once, not when others miss it.
func TestMasterAddrOfAnotherHost(t *testing.T) {
	t.Parallel()
	code, _, stderr := run(t, "run", "--nnodes", "2", "--node-rank", "0", "--master-addr", "192.0.2.1", "--insecure", "true")
	if code != 1 || !strings.Contains(lastLine(stderr), "192.0.2.1") || !strings.Contains(lastLine(stderr), "cannot assign requested address") {
		t.Errorf("code %d\n%s", code, stderr)
	}
}
