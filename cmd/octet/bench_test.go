// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

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
