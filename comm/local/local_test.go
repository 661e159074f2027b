// SPDX-License-Identifier: Apache-2.0

package local_test

import (
	"testing"

	"go.uber.org/goleak"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	commtest.Run(t, []int{1, 2, 3, 4}, func(t *testing.T, n int) []comm.Comm {
		return local.New(n, local.Options{})
	})
}

func BenchmarkLocal(b *testing.B) {
	commtest.BenchTogether(b, func(*testing.B) []comm.Comm { return local.New(2, local.Options{}) })
}
