// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/hashicorp/go-multierror"

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
	var problems *multierror.Error
	for _, sink := range t {
		problems = multierror.Append(problems, sink.Close())
	}
	return problems.ErrorOrNil()
}
