// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"testing"

	"octet/comm"
	"octet/dtype"
)

// BenchmarkReduce has operands that stay in the second-level cache, as the
// messages of a pipeline do.
func BenchmarkReduce(b *testing.B) {
	for _, t := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
		for _, op := range []comm.Op{comm.Sum, comm.Max} {
			for _, n := range []int{2, 4} {
				b.Run(fmt.Sprint(t, "/", op, "/", n, " ranks"), func(b *testing.B) {
					dst := make([]byte, 64<<10)
					src := make([][]byte, n)
					for q := range src {
						src[q] = make([]byte, len(dst))
					}
					var acc accumulator
					b.SetBytes(int64(len(dst)))
					for b.Loop() {
						reduce(dst, src, t, op, &acc)
					}
				})
			}
		}
	}
}
