// SPDX-License-Identifier: Apache-2.0

package local_test

import (
	"testing"

	"go.uber.org/goleak"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/local"
	"octet/test/ranks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes n ranks that share a device.
func open(t testing.TB, n int, o local.Options) []commtest.Rank {
	return commtest.On(ranks.Device(t, ranks.Options{}), local.New(n, o)...)
}

// alone is a rank of its own.
func alone(t testing.TB) *commtest.Env {
	e := commtest.NewEnv(open(t, 1, local.Options{})[0], commtest.Promises{})
	t.Cleanup(e.Close)
	return e
}

func TestConformance(t *testing.T) {
	commtest.Run(t, []int{1, 2, 3, 4}, commtest.Suite{Open: func(t *testing.T, n int) []commtest.Rank { return open(t, n, local.Options{}) }})
}

func TestControlGroups(t *testing.T) {
	commtest.RunControl(t, []int{1, 2, 4}, func(t *testing.T, n int) []comm.ControlGroup { return local.Control(n, local.Options{}) })
}

func BenchmarkLocal(b *testing.B) {
	commtest.BenchTogether(b, func(b *testing.B) []commtest.Rank { return open(b, 2, local.Options{}) })
}
