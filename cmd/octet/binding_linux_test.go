// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"octet/device/cuda/topo"
)

var allowedCPUs = regexp.MustCompile(`Cpus_allowed_list:\s*(\S+)`)

// Each rank finds itself on CPUs of its own, all of them together are those of the
// launcher, and so it is in the next attempt, too. Without the flag ranks are free.
func TestRunBindsRanksToCPUs(t *testing.T) {
	t.Parallel()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	all, err := topo.ParseCPUList(allowedCPUs.FindStringSubmatch(string(status))[1])
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 2 {
		t.Skip("two ranks need two CPUs")
	}
	const script = `grep Cpus_allowed_list /proc/self/status; sleep 0.2; exit 1`
	for _, flags := range [][]string{{"--numa-binding", "exclusive"}, nil} {
		_, stdout, stderr := run(t, twoRanks(script, append(flags, "--max-restarts", "1")...)...)
		found := allowedCPUs.FindAllStringSubmatch(stdout, -1)
		if len(found) != 4 {
			t.Fatalf("%v: not two ranks of two attempts:\n%s%s", flags, stdout, stderr)
		}
		var of [][]int
		for _, f := range found {
			cpus, err := topo.ParseCPUList(f[1])
			if err != nil {
				t.Fatal(err)
			}
			of = append(of, cpus)
		}
		if flags == nil {
			if slices.ContainsFunc(of, func(cpus []int) bool { return !slices.Equal(cpus, all) }) {
				t.Errorf("without the flag ranks are on CPUs %v, the launcher on %v", of, all)
			}
			continue
		}
		for attempt := range 2 {
			both := slices.Sorted(slices.Values(slices.Concat(of[2*attempt], of[2*attempt+1])))
			if !slices.Equal(both, all) || len(of[2*attempt]) > len(all)/2+1 {
				t.Errorf("ranks of attempt %d are on CPUs %v, the launcher on %v", attempt, of[2*attempt:2*attempt+2], all)
			}
		}
		if n := strings.Count(stderr, "--numa-binding exclusive: CPUs of local rank 0: "); n != 1 {
			t.Errorf("said %d times:\n%s", n, stderr)
		}
	}
}
