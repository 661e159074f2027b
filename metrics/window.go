// SPDX-License-Identifier: Apache-2.0

package metrics

// Window joins the steps between two that a display shows: those after step 1 and after every LogFreq steps.
type Window struct {
	LogFreq int // at least 1

	steps, tokens, ms, dataMS, rssMB, gpuMB float64
}

// Span is what is said of the steps of a window together.
type Span struct {
	TokensPerS float64 // of this rank
	StepMS     float64 // mean wall time of a step, milliseconds
	DataMS     float64 // mean time of reading a step's data, milliseconds
	RSSMB      float64 // the most, MiB
	GPUMB      float64 // the most that its GPU had in use, MiB
}

// Step takes a record in. After a step that is shown it returns what is said of it and those before it, back to the last that
// was.
func (w *Window) Step(r Record) (s Span, shown bool) {
	w.steps++
	w.ms += r.StepMS
	w.dataMS += r.DataMS
	w.tokens += r.TokensPerS * r.StepMS / 1000
	w.rssMB = max(w.rssMB, r.RSSMB)
	if r.GPU != nil {
		w.gpuMB = max(w.gpuMB, r.GPU.MemoryMB)
	}
	if r.Step != 1 && r.Step%w.LogFreq != 0 {
		return Span{}, false
	}
	s = Span{StepMS: w.ms / w.steps, DataMS: w.dataMS / w.steps, RSSMB: w.rssMB, GPUMB: w.gpuMB}
	if w.ms > 0 {
		s.TokensPerS = w.tokens / w.ms * 1000
	}
	*w = Window{LogFreq: w.LogFreq}
	return s, true
}
