// SPDX-License-Identifier: Apache-2.0

package train

import (
	"time"

	"octet/data"
)

// reading is the batches of the step that comes next: they are read while the
// device works on the step before. What goes wrong then is an error of the step
// that needs them.
type reading struct {
	loader  *data.Loader
	batches []*data.Batch // one for each microbatch
	there   bool
	at      uint64 // where in the data they begin
	err     error
	time    time.Duration // of reading them
	taken   time.Duration // of reading those that were taken last
}

func newReading(l *data.Loader, microbatches int) reading {
	r := reading{loader: l}
	for range microbatches {
		r.batches = append(r.batches, l.NewBatch())
	}
	return r
}

// read reads them.
func (r *reading) read() {
	start := time.Now()
	r.at = r.loader.Position()
	for _, b := range r.batches {
		if r.err == nil {
			r.err = r.loader.Next(b)
		}
	}
	r.there = true
	r.time = time.Since(start)
}

// need has them read, unless they were.
func (r *reading) need() error {
	if !r.there {
		r.read()
	}
	return r.err
}

// position is the place of the first batch that no step has taken.
func (r *reading) position() uint64 {
	if r.there {
		return r.at
	}
	return r.loader.Position()
}

// take hands them over; they are overwritten by the next read.
func (r *reading) take() []*data.Batch {
	r.there = false
	r.taken = r.time
	return r.batches
}
