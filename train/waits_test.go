// SPDX-License-Identifier: Apache-2.0

package train

import (
	"sync/atomic"
	"testing"

	"octet/comm"
	"octet/comm/record"
	"octet/device"
)

// counted is a device that counts how often the host waits for it.
type counted struct {
	device.Device
	waits atomic.Int64
}

func (d *counted) NewStream(name string) device.Stream {
	return &countedStream{d.Device.NewStream(name).(device.HostStream), d}
}

type countedStream struct {
	device.HostStream
	dev *counted
}

func (s *countedStream) Sync() error {
	s.dev.waits.Add(1)
	return s.HostStream.Sync()
}

func (s *countedStream) Record() device.Event { return &countedEvent{s.HostStream.Record(), s.dev} }
func (s *countedStream) Wait(e device.Event)  { s.HostStream.Wait(e.(*countedEvent).Event) }

type countedEvent struct {
	device.Event
	dev *counted
}

func (e *countedEvent) Sync() error {
	e.dev.waits.Add(1)
	return e.Event.Sync()
}

// TestAStepWaitsOnceAndCopiesNothing: the host waits for one event a step, however
// many microbatches it has, and no collective copies into or out of what is
// gathered or reduced; but for a rank's own part of its gradients, which the sum
// reads where it lies.
func TestAStepWaitsOnceAndCopiesNothing(t *testing.T) {
	const steps = 5
	for name, kind := range map[string][]string{"f32": f32Args, "float8 gather": join(float8, gather), "inline scales": join(float8, gather[:1])} {
		for _, ranks := range []int{1, 2} {
			args := small(join(tokens, kind, []string{"--training.local_batch_size=1", "--training.global_batch_size=4", "--training.steps=10"})...)
			logs, devices := make([]*record.Log, ranks), make([]*counted, ranks)
			for rank, err := range onRanksOf(t, ranks, args, func(rank int, j *Job) {
				logs[rank], devices[rank] = &record.Log{}, &counted{Device: j.Device}
				j.Record, j.Device = logs[rank], devices[rank]
			}, func(rank int, tr *Trainer) error {
				if _, err := tr.Step(); err != nil {
					return err
				}
				before := devices[rank].waits.Load()
				for range steps {
					if _, err := tr.Step(); err != nil {
						return err
					}
				}
				if n := devices[rank].waits.Load() - before; n != steps {
					t.Errorf("%s, %d ranks: rank %d waited %d times in %d steps, want once a step", name, ranks, rank, n, steps)
				}
				return nil
			}) {
				if err != nil {
					t.Fatalf("rank %d: %v", rank, err)
				}
			}
			for rank, log := range logs {
				if n := log.Copied(comm.AllGather); n != 0 {
					t.Errorf("%s: rank %d of %d copied %d bytes of its own into what it gathers", name, rank, ranks, n)
				}
				if gathered := log.Totals(); len(gathered) == 0 {
					t.Errorf("%s: nothing was recorded", name)
				}
			}
		}
	}
}
