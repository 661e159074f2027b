// SPDX-License-Identifier: Apache-2.0

// Package metrics reports a training run: the line on the console, metrics.jsonl, the progress bar, and the log.
//
// The step loop knows one interface, Sink, and hands it one Record a step; what becomes of it is put together once, by
// Tee. Tee() of nothing is the Sink of a rank that reports nothing. A dump folder (OpenFolder) is held by one process
// alone, and what an earlier job left there is renamed. The log is written through the progress bar, so that its lines
// go around that. Read gives back what a JSONL wrote, for tests and plots.
package metrics

import "errors"

// Sink receives the record of every step. Step never fails: Close returns what went wrong
// and is not mended since. A Sink is used by one goroutine.
type Sink interface {
	Step(Record)
	Close() error
}

// Tee is the Sink that passes each record to all sinks in turn.
func Tee(sinks ...Sink) Sink { return tee(sinks) }

type tee []Sink

var _ Sink = tee(nil)

func (t tee) Step(r Record) {
	for _, sink := range t {
		sink.Step(r)
	}
}

func (t tee) Close() error {
	var problems []error
	for _, sink := range t {
		problems = append(problems, sink.Close())
	}
	return errors.Join(problems...)
}
