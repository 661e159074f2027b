// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"strings"
	"testing"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/parallel"
	"octet/test/ranks"
)

// traveler is a Linear alone on one rank, and what packs its weight.
func traveler(t *testing.T, cfg fp8.Float8LinearConfig) (m *parallel.Model, l *nn.Linear, pack func(s device.Stream, eval bool)) {
	t.Helper()
	one := ranks.Open(t, 1, ranks.Options{})[0]
	l = nn.NewLinear(16, 32, nn.LinearOptions{Init: nn.Normal(1)})
	var root nn.Module = l
	p := parallel.Plan{Float8: &parallel.Float8{Config: cfg}, FSDP: fsdp.Options{Param: dtype.Float32}}
	err := p.Convert(&root)
	if err == nil {
		m, err = p.Shard(root, one.World, one.Device)
	}
	if err == nil {
		err = m.Init(1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, l, func(s device.Stream, eval bool) {
		parcel := comm.Parcel{Eval: eval}
		for _, spec := range l.Weight.Wire.Sends(l.Weight.Shape) {
			parcel.Ship = append(parcel.Ship, m.Ctx().Pool.New(spec.Type, spec.Shape...))
		}
		l.Weight.Wire.Pack(s, m.Ctx().Pool, one.World, &parcel, l.Weight.Shard)
	}
}

// TestWhatADelayedWeightOnTheWireReads: gathers of training record its amax, those of
// evaluation do not; a scale of its own it needs to be evaluated before there is another,
// and for the first step if that is initialised.
func TestWhatADelayedWeightOnTheWireReads(t *testing.T) {
	for _, init := range []bool{true, false} {
		m, _, pack := traveler(t, delayed(func(c *fp8.Float8LinearConfig) { c.EnableFsdpFloat8AllGather, c.EnableAmaxInit = true, init }))
		first := 0
		if init {
			first = 1
		}
		for i, step := range []struct {
			eval, synced    bool
			scales, records int
		}{
			{eval: true, scales: 1},
			{eval: true, scales: 1},
			{scales: first, records: 1},
			{records: 1}, // a second microbatch
			{synced: true, eval: true},
			{records: 1},
		} {
			if step.synced {
				fp8.ScalesOf(m.Root()).SyncFloat8AmaxAndScaleHistory(m.Ctx())
			}
			count := &castsCounted{Stream: m.Ctx().Stream}
			if pack(count, step.eval); count.scales != step.scales || count.records != step.records {
				t.Errorf("amax init %v: pack %d reads the amax %d times for a scale and records it %d times, want %d and %d", init, i, count.scales, count.records, step.scales, step.records)
			}
		}
	}
}

// TestASyncThatIsForgottenIsFoundOnTheWire, where the weight alone is delayed, and its cast
// is the one that gathers make.
func TestASyncThatIsForgottenIsFoundOnTheWire(t *testing.T) {
	m, l, pack := traveler(t, configured(func(c *fp8.Float8LinearConfig) {
		c.CastConfigWeight, c.EnableFsdpFloat8AllGather = cast(fp8.Delayed, fp8.Tensorwise), true
	}))
	said := func(eval bool) (said any) {
		defer func() { said = recover() }()
		pack(m.Ctx().Stream, eval)
		return nil
	}
	first := said(false)
	l.Weight.Written()
	if eval := said(true); first != nil || eval != nil {
		t.Errorf("panics %v at first and %v of an evaluation, want none", first, eval)
	}
	if second := fmt.Sprint(said(false)); !strings.Contains(second, "was not synced before the optimizer's step") {
		t.Errorf("panic %s, want one that says what was forgotten", second)
	}
	fp8.ScalesOf(m.Root()).SyncFloat8AmaxAndScaleHistory(m.Ctx())
	if after := said(false); after != nil {
		t.Errorf("panic %v after a sync", after)
	}
}
