// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"time"

	"octet/device"
)

// Effort is how long each measurement takes: it is repeated until one of the two runs
// out, after one repetition that does not count; once at least. The fastest counts.
type Effort struct {
	Time   time.Duration // for the repetitions of one measurement
	Repeat int           // how many there are at most
}

// DefaultEffort is torchao's hundred repetitions, cut to what a CPU does in a second.
func DefaultEffort() Effort { return Effort{Time: time.Second, Repeat: 100} }

// String says what was done, for the head of a table.
func (e Effort) String() string {
	return fmt.Sprintf("fastest of up to %d repetitions within %v, in turns", e.Repeat, e.Time)
}

// least is how long is timed as one, so that handing work to a stream and waiting for
// it count as little as they do in training.
const least = 2 * time.Millisecond

// inTurns times runs of s in turns, so that their ratios hold on a machine that does
// other work as well. It returns the fastest time of each, in seconds.
func (e Effort) inTurns(ctx context.Context, s device.Stream, runs ...func()) ([]float64, error) {
	best, batch := make([]time.Duration, len(runs)), make([]int, len(runs))
	once := func(i, n int) (time.Duration, error) {
		if err := s.Sync(); err != nil {
			return 0, err
		}
		start := time.Now()
		for range n {
			runs[i]()
		}
		err := s.Sync()
		return time.Since(start) / time.Duration(n), err
	}
	for i := range runs {
		took, err := once(i, 1)
		if err != nil {
			return nil, err
		}
		batch[i] = max(1, min(64, int(least/max(1, took))))
	}
	start := time.Now()
	for range max(1, e.Repeat) {
		for i := range runs {
			took, err := once(i, batch[i])
			if err != nil {
				return nil, err
			}
			if best[i] == 0 || took < best[i] {
				best[i] = max(1, took)
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if time.Since(start) >= e.Time*time.Duration(len(runs)) {
			break
		}
	}
	seconds := make([]float64, len(runs))
	for i, t := range best {
		seconds[i] = t.Seconds()
	}
	return seconds, nil
}
