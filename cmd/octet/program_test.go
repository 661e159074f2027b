// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"octet/launcher/agent"
	"octet/launcher/torchrun"
)

// TestProgramsOfOctetAreKnown: their ranks need no store of PyTorch's, and hosts
// compare what they make of their command line; of other programs the line itself.
func TestProgramsOfOctetAreKnown(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	train := strings.Join(append([]string{"train"}, tinyFlags(t)...), " ")
	const all = "the version, --nnodes, --max-restarts, --role, a host is lost after, the program, "
	for _, tt := range []struct {
		line    string
		own     bool
		program string
		asked   string // the first keys
	}{
		{"echo train", false, "echo", all + "the command line"},
		{"--no-python train", false, "train", all + "the command line"},
		{"-m train", false, "python3", all + "the command line"},
		{"guard", false, "guard", all + "the command line"}, // nobody's to start
		{"version", true, self, all + "the command line"},
		{train, true, self, all + "activation_checkpoint."},
	} {
		flags, err := torchrun.Parse(strings.Fields(tt.line), nil)
		if err != nil {
			t.Fatal(err)
		}
		o, err := flags.Options(say)
		if err != nil {
			t.Fatal(err)
		}
		own, device, err := chooseProgram(flags, &o)
		if err != nil || own != tt.own || o.Job.Argv[0] != tt.program {
			t.Errorf("%s: own %v, %q, %v", tt.line, own, o.Job.Argv, err)
		}
		if (device == "cpu") != (tt.line == train) {
			t.Errorf("%s: it computes on %q", tt.line, device)
		}
		var keys []string
		for _, a := range o.Asked {
			keys = append(keys, a.Key)
		}
		if got := strings.Join(keys, ", "); !strings.HasPrefix(got, tt.asked) {
			t.Errorf("%s: all hosts must have alike %s, want %s first", tt.line, got, tt.asked)
		}
		prepared := slices.ContainsFunc(o.Job.Environ, func(kv string) bool { return strings.HasPrefix(kv, preparedVar+"=") })
		if (o.Store == agent.NoStore) != own || (o.Check != nil) != (tt.line == train) || prepared != (tt.line == train) {
			t.Errorf("%s: store %v, checked %v, prepared %v", tt.line, o.Store, o.Check != nil, prepared)
		}
	}
}
