// SPDX-License-Identifier: Apache-2.0

package metrics

import "errors"

// Sink receives the record of every step. Step never fails: the first error of a Sink sticks, and Close returns it.
// A Sink is used by one goroutine.
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
