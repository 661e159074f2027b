// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"errors"
	"fmt"
)

// CastsFileName is the file in job.dump_folder that has what casts to float8 did.
const CastsFileName = "float8_stats.jsonl"

// Cast is what the casts of one operand of a linear layer to float8 did in a step, on
// all ranks and in all microbatches.
type Cast struct {
	Layer, Role, Recipe string  // layers.0.attention.wq, i, dyn_ten_e4m3
	Amax                float64 // the largest magnitude
	MinScale, MaxScale  float64
	Saturated           float64 // part of the elements beyond the format's largest value
	Underflowed         float64 // part of the elements that became 0 and were not
	SQNR                float64 // signal to quantisation noise, dB
}

func (c *Cast) columns(step *int) []column {
	return []column{
		{"step", step}, {"layer", &c.Layer}, {"role", &c.Role}, {"cast", &c.Recipe}, {"amax", &c.Amax}, {"scale_min", &c.MinScale}, {"scale_max", &c.MaxScale},
		{"saturated", &c.Saturated}, {"underflowed", &c.Underflowed}, {"sqnr_db", &c.SQNR},
	}
}

// Casts writes a line of JSON for each cast of a record that has any.
type Casts struct {
	file File
	err  error // the first of a write
}

var _ Sink = (*Casts)(nil)

// NewCasts returns a Sink that writes to file, and closes it.
func NewCasts(file File) *Casts { return &Casts{file: file} }

// Step appends the lines of a step, all or none.
func (c *Casts) Step(r Record) {
	if c.err != nil {
		return
	}
	var lines bytes.Buffer
	for i := range r.Casts {
		lines.Write(object(r.Casts[i].columns(&r.Step)))
		lines.WriteByte('\n')
	}
	_, c.err = c.file.Write(lines.Bytes())
}

// Close ends the file. Its error is the first of a write: lines are missing from there on.
func (c *Casts) Close() error {
	if err := errors.Join(c.err, c.file.Sync(), c.file.Close()); err != nil {
		return fmt.Errorf("metrics: %s: %w", c.file.Name(), err)
	}
	return nil
}
