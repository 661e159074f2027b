// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Record is what is known after one optimizer step.
type Record struct {
	Step       int     // from 1
	Loss       float64 // mean over the tokens of all ranks, nats per token
	MaxLoss    float64 // the largest mean over the tokens of one rank
	GradNorm   float64 // global L2 norm before clipping
	LR         float64 // learning rate that this step used
	Tokens     int64   // tokens of this step on all ranks
	TokensSeen int64   // of all steps, since the first weights
	StepMS     float64 // wall time of the step, milliseconds
	DataMS     float64 // reading the step's batches, milliseconds; but for the first step while the device works on the step before
	TokensPerS float64 // tokens per second of this rank
	RSSMB      float64 // resident memory of this process, MiB
	CommBytes  int64   // bytes that this rank sent in collectives during the step

	GPU        *GPU        // of the rank, after the step; nil where it has none, or nobody can say
	Validation *Validation // after the step; nil where none was made
	Casts      []Cast      // to float8, of the step; nil where nobody measured them
}

// GPU is what NVML says of a rank's GPU.
type GPU struct {
	MemoryMB    float64 // in use, by all processes, MiB
	TotalMB     float64 // there is, MiB; not in JSON
	Utilization int     // per cent of the time in which a kernel ran
	ClockMHz    int     // of the multiprocessors
}

// Validation is the loss on data that is not trained on.
type Validation struct {
	Loss        float64 // mean over the tokens of all ranks, nats per token
	BitsPerByte float64 // of text whose bytes are the tokens; otherwise 0
	Tokens      int64   // of all ranks
	MS          float64 // wall time, milliseconds
	TokensPerS  float64 // of this rank
}

// column is one number of a record: its key in JSON, and a pointer to it.
type column struct {
	key   string
	value any // *string, *int, *int64 or *float64
}

// memory is what the device of the rank has in use, MiB, and of how much: of its GPU, or
// of this process and the machine.
func (r *Record) memory(machine int64) (mb, totalMB float64) {
	if r.GPU != nil {
		return r.GPU.MemoryMB, r.GPU.TotalMB
	}
	return r.RSSMB, float64(machine) / (1 << 20)
}

func (r *Record) columns() []column {
	return []column{
		{"step", &r.Step}, {"loss", &r.Loss}, {"max_loss", &r.MaxLoss}, {"grad_norm", &r.GradNorm}, {"lr", &r.LR}, {"tokens", &r.Tokens}, {"tokens_seen", &r.TokensSeen},
		{"step_ms", &r.StepMS}, {"data_ms", &r.DataMS}, {"tokens_per_s", &r.TokensPerS}, {"rss_mb", &r.RSSMB}, {"comm_bytes", &r.CommBytes},
	}
}

// columns are the keys that a step on a GPU has besides.
func (g *GPU) columns() []column {
	return []column{{"gpu_memory_mb", &g.MemoryMB}, {"gpu_utilization", &g.Utilization}, {"gpu_clock_mhz", &g.ClockMHz}}
}

// columns are the keys that a step with a validation has besides.
func (v *Validation) columns() []column {
	return []column{
		{"validation_loss", &v.Loss}, {"validation_bits_per_byte", &v.BitsPerByte}, {"validation_tokens", &v.Tokens},
		{"validation_ms", &v.MS}, {"validation_tokens_per_s", &v.TokensPerS},
	}
}

// MarshalJSON writes floats with the digits that give the same float64 again. JSON has no numbers that are not finite:
// those are the strings "NaN", "Inf" and "-Inf".
func (r Record) MarshalJSON() ([]byte, error) {
	columns := r.columns()
	if r.GPU != nil {
		columns = append(columns, r.GPU.columns()...)
	}
	if r.Validation != nil {
		columns = append(columns, r.Validation.columns()...)
	}
	return object(columns), nil
}

// object is columns as an object of JSON.
func object(columns []column) []byte {
	b := []byte{'{'}
	for i, c := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, c.key), ':')
		switch v := c.value.(type) {
		case *string:
			b = strconv.AppendQuote(b, *v)
		case *int:
			b = strconv.AppendInt(b, int64(*v), 10)
		case *int64:
			b = strconv.AppendInt(b, *v, 10)
		case *float64:
			b = appendFloat(b, *v)
		}
	}
	return append(b, '}')
}

func appendFloat(b []byte, x float64) []byte {
	switch {
	case math.IsNaN(x):
		return append(b, `"NaN"`...)
	case math.IsInf(x, 1):
		return append(b, `"Inf"`...)
	case math.IsInf(x, -1):
		return append(b, `"-Inf"`...)
	}
	return strconv.AppendFloat(b, x, 'g', -1, 64)
}

// UnmarshalJSON reads what MarshalJSON wrote. All keys must be there; keys that Record does not know are skipped.
func (r *Record) UnmarshalJSON(data []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	columns := r.columns()
	if _, ok := object["gpu_memory_mb"]; ok {
		r.GPU = &GPU{}
		columns = append(columns, r.GPU.columns()...)
	}
	if _, ok := object["validation_loss"]; ok {
		r.Validation = &Validation{}
		columns = append(columns, r.Validation.columns()...)
	}
	for _, c := range columns {
		text, ok := object[c.key]
		if !ok {
			return fmt.Errorf("key %q is missing", c.key)
		}
		into := c.value
		if f, ok := c.value.(*float64); ok {
			into = (*float)(f)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%s: %w", c.key, err)
		}
	}
	return nil
}

// float is a float64 that may also stand in JSON as one of the strings of appendFloat.
type float float64

func (f *float) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case `"NaN"`:
		*f = float(math.NaN())
	case `"Inf"`:
		*f = float(math.Inf(1))
	case `"-Inf"`:
		*f = float(math.Inf(-1))
	default:
		return json.Unmarshal(data, (*float64)(f))
	}
	return nil
}
