// SPDX-License-Identifier: Apache-2.0

// Package tensorboard writes a run's metrics as TensorBoard's event files, under torchtitan's tags, without TensorFlow: Create opens
// one, which is a metrics.Sink like any other. `tensorboard --logdir FOLDER` shows it while it is written.
//
// All event files of a folder are one run to TensorBoard. A run that goes on after a stop begins another file there, whose first event says
// at which step: what an earlier file has from that step on is no longer shown.
package tensorboard

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"octet/metrics"
)

// Options say what is written beside the record. A tag that needs what is zero is left out.
type Options struct {
	LogFreq       int     // points after step 1 and after every LogFreq steps; at least 1
	FLOPsPerToken float64 // see metrics.FLOPsPerToken
	PeakFLOPS     float64 // the 100% of mfu, FLOP/s
	MemoryTotal   int64   // memory of the machine, bytes
}

// Board is the Sink of one event file.
type Board struct {
	file    *metrics.Appender
	name    string
	options Options
	window  metrics.Window
	begun   bool // the file says at which step
}

var _ metrics.Sink = (*Board)(nil)

// Create begins an event file in a folder that is there. When writing begins to fail, or succeeds again, it says so.
func Create(folder string, o Options, say func(string)) (*Board, error) {
	name, err := next(folder)
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(folder, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	b := &Board{file: metrics.NewAppender(file, say), name: file.Name(), options: o, window: metrics.Window{LogFreq: o.LogFreq}}
	b.write(event{version: fileVersion})
	return b, nil
}

// prefix of an event file's name; the time comes next, in seconds.
const prefix = "events.out.tfevents."

// next is the name of a folder's next event file. TensorBoard reads them in the order of their names, so that the new one's time is later
// than those there, whatever the clock says.
func next(folder string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	at := time.Now().Unix()
	for _, f := range files {
		var before int64
		if n, _ := fmt.Sscanf(f.Name(), prefix+"%d.", &before); n == 1 {
			at = max(at, before+1)
		}
	}
	return fmt.Sprintf("%s%010d.%s.%d.0", prefix, at, host, os.Getpid()), nil
}

// Name is the path of the file.
func (b *Board) Name() string { return b.name }

// Step writes the points of a record, where there are any.
func (b *Board) Step(r metrics.Record) {
	if !b.begun {
		b.write(event{step: int64(r.Step), starts: true})
		b.begun = true
	}
	if span, shown := b.window.Step(r); shown {
		b.write(event{step: int64(r.Step), scalars: b.training(r, span)})
	}
	if v := r.Validation; v != nil {
		b.write(event{step: int64(r.Step), scalars: validation(v)})
	}
	if len(r.Casts) > 0 {
		b.write(event{step: int64(r.Step), scalars: casts(r.Casts)})
	}
}

// training are the tags of a step, and of the span that it ends.
func (b *Board) training(r metrics.Record, span metrics.Span) []scalar {
	const gib = 1 << 10 // in MiB
	o := &b.options
	all := []scalar{
		{"loss_metrics/global_avg_loss", r.Loss},
		{"loss_metrics/global_max_loss", r.MaxLoss},
		{"n_tokens_seen", float64(r.TokensSeen)},
		{"grad_norm", r.GradNorm},
		{"lr", r.LR},
		{"throughput(tps)", span.TokensPerS},
		{"time_metrics/end_to_end(s)", span.StepMS / 1000},
		{"time_metrics/data_loading(s)", span.DataMS / 1000},
		{"time_metrics/data_loading(%)", 100 * span.DataMS / span.StepMS},
		{"memory/resident(GiB)", span.RSSMB / gib},
		{"comm/sent(MiB)", float64(r.CommBytes) / (1 << 20)},
	}
	if flops := o.FLOPsPerToken * span.TokensPerS; o.FLOPsPerToken > 0 {
		all = append(all, scalar{"tflops", flops / 1e12})
		if o.PeakFLOPS > 0 {
			all = append(all, scalar{"mfu(%)", 100 * flops / o.PeakFLOPS})
		}
	}
	if g := r.GPU; g != nil {
		all = append(all, scalar{"memory/gpu(GiB)", span.GPUMB / gib}, scalar{"memory/gpu(%)", 100 * span.GPUMB / g.TotalMB},
			scalar{"gpu/utilization(%)", float64(g.Utilization)}, scalar{"gpu/clock(MHz)", float64(g.ClockMHz)})
	}
	if o.MemoryTotal > 0 {
		all = append(all, scalar{"memory/resident(%)", 100 * span.RSSMB * (1 << 20) / float64(o.MemoryTotal)})
	}
	return all
}

// validation are the tags of a validation.
func validation(v *metrics.Validation) []scalar {
	all := []scalar{
		{"validation_metrics/global_avg_loss", v.Loss},
		{"validation_metrics/throughput(tps)", v.TokensPerS},
	}
	if v.BitsPerByte != 0 {
		all = append(all, scalar{"validation_metrics/bits_per_byte", v.BitsPerByte})
	}
	return all
}

// casts are the tags of what casts to float8 did: of each operand a group, with a curve for each layer.
func casts(list []metrics.Cast) (all []scalar) {
	for _, c := range list {
		at := func(what string) string { return "float8_" + c.Role + "/" + what + "/" + c.Layer }
		all = append(all, scalar{at("amax"), c.Amax}, scalar{at("saturated"), c.Saturated}, scalar{at("underflowed"), c.Underflowed}, scalar{at("sqnr(dB)"), c.SQNR})
	}
	return all
}

// write appends an event, of now.
func (b *Board) write(e event) {
	e.wall = float64(time.Now().UnixMicro()) / 1e6
	b.file.Append(appendFrame(nil, e.marshal()))
}

// Close ends the file. Its error says what is lost.
func (b *Board) Close() error {
	lost, err := b.file.Close()
	if len(lost) > 0 {
		err = fmt.Errorf("%w: the last %d bytes are not in the file", err, len(lost))
	}
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}
