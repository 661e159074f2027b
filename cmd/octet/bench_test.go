// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"octet/backend"
)

func TestBenchMatMulHasARowPerProductAndType(t *testing.T) {
	var out bytes.Buffer
	if err := benchMatMul(t.Context(), &out, backend.Options{Threads: 1}, [][3]int{{48, 32, 64}}, 1); err != nil {
		t.Fatal(err)
	}
	for _, product := range []string{"output", "grad_input", "grad_weight"} {
		for _, typ := range benchTypes {
			found := false
			for line := range strings.Lines(out.String()) {
				f := strings.Fields(line)
				found = found || len(f) == 8 && f[3] == product && f[4] == typ.name
			}
			if !found {
				t.Errorf("no row for %s, %s in\n%s", product, typ.name, &out)
			}
		}
	}
}

func TestBenchNamesTheMistake(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "the benchmark there is, is matmul"},
		{[]string{"linear"}, "the benchmark there is, is matmul"},
		{[]string{"matmul", "--shapes=64x64"}, `"64x64" is not a shape; write MxKxN`},
		{[]string{"matmul", "--shapes=64x0x64"}, `"64x0x64" is not a shape`},
		{[]string{"matmul", "--threads=0"}, "--threads 0: want 1 or more"},
		{[]string{"matmul", "--time=0s"}, "--time 0s: want more than 0"},
		{[]string{"matmul", "--isa=sse"}, "OCTET_CPU_ISA=sse is not on this machine"},
	} {
		err := runBench(t.Context(), tt.args)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("octet bench %q: error %v, want %q", tt.args, err, tt.want)
		}
	}
}
