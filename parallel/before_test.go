// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"slices"
	"testing"
	"time"

	"octet/device"
	"octet/parallel"
)

// TestTheUpdateWaitsForWhatIsBefore: who still copies weights beside a step copies those of before it.
func TestTheUpdateWaitsForWhatIsBefore(t *testing.T) {
	u := newUser(t).init()
	weight := u.m.Params()[0].Local()
	read := func(s device.Stream) []float32 {
		to := make([]float32, weight.Numel())
		s.Download(device.Float32Bytes(to), weight)
		return to
	}
	compute := u.m.Ctx().Stream
	first := read(compute)
	u.must(compute.Sync())
	copies := u.rank.Device.NewStream("copies")
	copies.(device.HostStream).Call("a slow disk", func() error { time.Sleep(200 * time.Millisecond); return nil })
	copied := read(copies)
	if _, err := u.m.Step(parallel.StepOptions{Optimizer: u.adam, LR: 1e-2, Count: 4, BeforeUpdate: copies.Record()}, u.loss).Wait(); err != nil {
		t.Fatal(err)
	}
	last := read(compute)
	u.must(compute.Sync())
	u.must(copies.Sync())
	if !slices.Equal(copied, first) || slices.Equal(last, first) {
		t.Errorf("weights begin with %v before, %v as copied, %v after", first[:4], copied[:4], last[:4])
	}
}
