// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"octet/comm/record"
	"octet/device/null"
	"octet/device/trace"
)

// Schedule is what a rank of the run enqueues in a step of training, in that order: kernels,
// transfers, collectives and waits (trace.WriteSchedule prints it). Nothing is computed, so
// it takes no time at any size of the model and any number of ranks.
func (r *Run) Schedule(rank int) ([]*trace.Span, error) {
	log := &trace.Log{}
	// GPUs read float8 in one layout, which casts then write beside.
	dev := trace.New(null.Open(null.Options{Float8TN: r.Config.Device.Name == "cuda"}), log)
	t, err := r.trial(rank, dev, &record.Log{})
	if err != nil {
		return nil, err
	}
	microbatches := r.Config.Microbatches(r.Ranks)
	t.take(microbatches)
	for range 2 { // the first step makes delayed scales, too
		log.Start()
		if err := t.step(microbatches, func(int) {}); err != nil {
			return nil, err
		}
	}
	return log.Stop(), nil
}
