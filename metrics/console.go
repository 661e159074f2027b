// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// ConsoleOptions say what a console line shows beside the record. Figures that need
// what is zero are shown as N/A.
type ConsoleOptions struct {
	LogFreq       int     // a line after step 1 and after every LogFreq steps; at least 1
	FLOPsPerToken float64 // see FLOPsPerToken
	PeakFLOPS     float64 // measured peak of what this rank computes with, FLOP/s; the 100% of mfu
	MemoryTotal   int64   // memory of the machine, bytes
	Color         bool
	Columns       func() int // room for the line: figures that do not fit are left out, they are in metrics.jsonl; nil: any
}

// Console logs torchtitan's metrics line. Loss and gradient norm are those of the step; tps, tflops and mfu are those
// of all steps since the last line, memory is their highest: of the rank's GPU, or of the process. A GPU's utilization and clock are octet's own fields.
type Console struct {
	log     *zap.Logger
	options ConsoleOptions
	window  Window
}

var _ Sink = (*Console)(nil)

// NewConsole returns a Sink that writes to log, at level info.
func NewConsole(log *zap.Logger, options ConsoleOptions) *Console {
	return &Console{log: log, options: options, window: Window{LogFreq: options.LogFreq}}
}

// Step logs every LogFreq-th record.
func (c *Console) Step(r Record) {
	if span, shown := c.window.Step(r); shown {
		c.log.Info(c.line(r, span))
	}
	if v := r.Validation; v != nil {
		c.log.Info(c.paint([]part{
			{green, fmt.Sprintf("validate step: %2d", r.Step), 7},
			{green, fmt.Sprintf("loss: %7.4f", v.Loss), 6},
			{turquoise, c.memory(&r), 2},
			{blue, "tps: " + commas(v.TokensPerS), 3},
		}, bitsPerByte(v)...))
	}
}

// bitsPerByte is octet's own part of torchtitan's validation line.
func bitsPerByte(v *Validation) []part {
	if v.BitsPerByte == 0 {
		return nil
	}
	return []part{{magenta, fmt.Sprintf("bits/byte: %.4f", v.BitsPerByte), 5}}
}

// Close does nothing.
func (c *Console) Close() error { return nil }

// line has torchtitan's fields, order, widths and colours.
func (c *Console) line(r Record, span Span) string {
	o := &c.options
	tflops, mfu := "N/A", "N/A"
	if flops := o.FLOPsPerToken * span.TokensPerS; o.FLOPsPerToken > 0 {
		tflops = fmt.Sprintf("%.2f", flops/1e12)
		if o.PeakFLOPS > 0 {
			mfu = fmt.Sprintf("%.2f%%", 100*flops/o.PeakFLOPS)
		}
	}
	peak := r
	peak.RSSMB = span.RSSMB
	var more []part
	if r.GPU != nil {
		gpu := *r.GPU
		gpu.MemoryMB, peak.GPU = span.GPUMB, &gpu
		more = append(more, part{blue, fmt.Sprintf("gpu: %d%% %d MHz", gpu.Utilization, gpu.ClockMHz), 0})
	}
	return c.paint([]part{
		{red, fmt.Sprintf("step: %2d", r.Step), 7},
		{green, fmt.Sprintf("loss: %8.5f", r.Loss), 6},
		{orange, fmt.Sprintf("grad_norm: %7.4f", r.GradNorm), 4},
		{turquoise, c.memory(&peak), 2},
		{blue, "tps: " + commas(span.TokensPerS), 5},
		{cyan, "tflops: " + tflops, 1},
		{magenta, "mfu: " + mfu, 3},
	}, more...)
}

// memory is torchtitan's field of the device's memory.
func (c *Console) memory(r *Record) string {
	mb, total := r.memory(c.options.MemoryTotal)
	percent := "N/A"
	if total > 0 {
		percent = fmt.Sprintf("%.2f%%", 100*mb/total)
	}
	return fmt.Sprintf("memory: %5.2fGiB(%s)", mb/1024, percent)
}

// part is a field of a line and its colour.
type part struct {
	color, text string
	need        int // the least needed goes first
}

const gap = "  "

// paint joins parts to a line, those that there is room for.
func (c *Console) paint(parts []part, more ...part) string {
	parts = append(parts, more...)
	if c.options.Columns != nil {
		parts = fit(parts, c.options.Columns())
	}
	var line strings.Builder
	for i, p := range parts {
		if i > 0 {
			line.WriteString(gap)
		}
		if c.options.Color {
			line.WriteString(p.color)
		}
		line.WriteString(p.text)
	}
	if c.options.Color {
		line.WriteString(reset)
	}
	return line.String()
}

// fit leaves out parts until the line has no more than that many columns.
func fit(parts []part, columns int) []part {
	for {
		width, least := -len(gap), 0
		for i, p := range parts {
			width += len(gap) + len(p.text)
			if p.need < parts[least].need {
				least = i
			}
		}
		if width <= columns || len(parts) == 1 {
			return parts
		}
		parts = slices.Delete(parts, least, least+1)
	}
}

// torchtitan's colours, as terminal escapes.
const (
	red       = "\x1b[31m"
	green     = "\x1b[32m"
	blue      = "\x1b[34m"
	magenta   = "\x1b[35m"
	cyan      = "\x1b[36m"
	orange    = "\x1b[38;2;180;60;0m"
	turquoise = "\x1b[38;2;54;234;195m"
	reset     = "\x1b[39m"
)

// commas rounds x to an integer and sets a comma between thousands.
func commas(x float64) string {
	digits := fmt.Sprintf("%d", int64(math.RoundToEven(x)))
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// ModelSize is what the cost of a token depends on.
type ModelSize struct {
	Params, EmbeddingParams, Layers, Heads, HeadDim, SeqLen int
}

// FLOPsPerToken is the work of forward and backward for one token, as torchtitan (and PaLM, arXiv:2204.02311, appendix
// B) count it: 6 operations per parameter of a matmul, and for attention 6 · layers · heads · 2·head_dim · seq_len,
// with no discount for causality.
func FLOPsPerToken(m ModelSize) float64 {
	return 6*float64(m.Params-m.EmbeddingParams) + 6*float64(m.Layers)*float64(m.Heads)*2*float64(m.HeadDim)*float64(m.SeqLen)
}
