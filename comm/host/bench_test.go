// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"testing"

	"octet/comm"
	"octet/comm/commtest"
)

func BenchmarkTogether(b *testing.B) {
	for _, l := range layouts[:2] {
		b.Run(l.name, func(b *testing.B) {
			commtest.BenchTogether(b, func(b *testing.B) []commtest.Rank { return onDevice(b, connect(b, 2, 0, l.hostOf)) })
		})
	}
}

// BenchmarkProcesses has rank 1 in another process.
func BenchmarkProcesses(b *testing.B) {
	for _, l := range layouts[:2] {
		for _, name := range commtest.Benchmarks() {
			b.Run(l.name+"/"+name, func(b *testing.B) {
				c, other := startBeside(b, name, l.hostOf)
				e := commtest.NewEnv(c, commtest.Promises{})
				commtest.Bench(b, e, name)
				e.Close()
				c.Comm.(comm.Control).Close()
				other.Wait() // it was aborted
			})
		}
	}
}
