// SPDX-License-Identifier: Apache-2.0

package train

import "octet/data"

// reading is the batches of the step that comes next: they are read while the
// device works on the step before. What goes wrong then is an error of the step
// that needs them.
type reading struct {
	loader  *data.Loader
	batches []*data.Batch // one for each microbatch
	there   bool
	err     error
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
	for _, b := range r.batches {
		if r.err == nil {
			r.err = r.loader.Next(b)
		}
	}
	r.there = true
}

// need has them read, unless they were.
func (r *reading) need() error {
	if !r.there {
		r.read()
	}
	return r.err
}

// take hands them over; they are overwritten by the next read.
func (r *reading) take() []*data.Batch {
	r.there = false
	return r.batches
}
