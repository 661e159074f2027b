// SPDX-License-Identifier: Apache-2.0

// Package trace is a device that notes what it is asked for: each kernel with its shapes,
// types, arithmetic and bytes, each transfer, each wait of a stream for another and, from
// communicators of comm/record, each collective; and when its streams began and ended
// each. It is a decorator of any device, and changes no bit:
//
//	log := &trace.Log{}
//	dev := trace.New(inner, log)
//	… a step of training on dev …
//	log.Start()
//	… a step, waited for …
//	for _, span := range log.Stop() { … }
//
// Times are the host's where the host can be a piece of a stream's work (device.HostStream),
// and the device's where that has a clock (device.TimedStream), which Stop reads; streams that are neither, such as
// device/null's, have the order alone: what a program enqueues.
// A device that is not decorated knows nothing of this.
package trace

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Kind is what a stream is asked to do.
type Kind uint8

// The kinds.
const (
	Kernel     Kind = iota // arithmetic
	Transfer               // an upload or a download
	Collective             // what ranks do together
	Wait                   // for work of another stream, or of this one
)

// String is such as "kernel".
func (k Kind) String() string { return [...]string{"kernel", "transfer", "collective", "wait"}[k] }

// Span is a piece of a stream's work.
type Span struct {
	Stream string
	Kind   Kind
	// Name is a method of device.Kernels, "upload" or "download", the kind of a collective,
	// or "wait".
	Name string
	// Of says more: the options of a kernel, the operation or root of a collective, the stream
	// that is waited for.
	Of string
	// Group, Seq and Ranks are of a collective: its group, its number there, and how many ranks that has.
	Group      string
	Seq, Ranks int
	// Args are the tensors, destinations first; of a collective what the rank contributes.
	Args []Arg
	// FLOPs are the additions and multiplications of products, which are in units of type
	// Unit; kernels without products have none.
	FLOPs float64
	Unit  dtype.Type
	// Bytes are read and written if each tensor is once, or as often as the contract of
	// device.Kernels demands; of a collective those that the rank contributes.
	Bytes int64
	// Begin and End count from Log.Start. Timed is false where the stream has no times, or had an
	// error before.
	Begin, End time.Duration
	Timed      bool
}

// Took is how long the span took.
func (s *Span) Took() time.Duration { return s.End - s.Begin }

// Arg is a tensor as a kernel is given it.
type Arg struct {
	Type       dtype.Type
	Shape      []int
	Transposed bool
}

// String is such as "bfloat16[4 128]", with "transposed" where it is.
func (a Arg) String() string {
	text := fmt.Sprintf("%v%v", a.Type, a.Shape)
	if a.Transposed {
		text += " transposed"
	}
	return text
}

// Log holds what one device noted; the zero value is ready, and stopped.
type Log struct {
	on     atomic.Bool
	mu     sync.Mutex
	start  time.Time
	spans  []*Span
	origin device.Stamp // where the device's clock is set by the host's; nil: not yet
	at     time.Duration
	timed  []timed
}

// timed is a span whose times are the device's.
type timed struct {
	span       *Span
	begin, end device.Stamp
}

// Start notes all that streams are given from now on. Their work before must be done.
func (l *Log) Start() { l.StartAt(time.Now()) }

// StartAt is Start with another beginning of time, so that logs of several ranks share one.
func (l *Log) StartAt(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start, l.spans, l.origin, l.timed = t, nil, nil, nil
	l.on.Store(true)
}

// Stop ends it and returns what was noted, in the order in which it was enqueued. The streams must be idle.
func (l *Log) Stop() []*Span {
	l.on.Store(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.timed {
		begin, err := t.begin.Since(l.origin)
		if err != nil {
			continue // the device is dead
		}
		end, err := t.end.Since(l.origin)
		if err == nil {
			t.span.Begin, t.span.End, t.span.Timed = l.at+begin, l.at+end, true
		}
	}
	spans := l.spans
	l.spans, l.origin, l.timed = nil, nil, nil
	return spans
}

// set sets the device's clock by the host's, at the first span: the stream is idle then, so that the
// host learns at once that the stamp is reached.
func (l *Log) set(s device.TimedStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.origin != nil {
		return
	}
	if stamp := s.Stamp(); stamp != nil && stamp.Sync() == nil {
		l.origin, l.at = stamp, time.Since(l.start)
	}
}

// resolve notes a span that Stop gives its times.
func (l *Log) resolve(t timed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.origin != nil {
		l.timed = append(l.timed, t)
	}
}

func (l *Log) add(s *Span) (start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans = append(l.spans, s)
	return l.start
}

// traced is the decorated device.
type traced struct {
	device.Device
	log *Log
}

// New decorates dev: its streams write to log.
func New(dev device.Device, log *Log) device.Device { return &traced{dev, log} }

// NewStream starts a stream that is a device.HostStream or a device.NativeStream where the
// device's is.
func (d *traced) NewStream(name string) device.Stream {
	inner := d.Device.NewStream(name)
	s := &stream{inner: inner, name: name, log: d.log}
	s.clock, _ = inner.(device.TimedStream)
	switch inner := inner.(type) {
	case device.HostStream:
		s.host = inner
		return hostStream{s, inner}
	case device.NativeStream:
		return nativeStream{s, inner}
	}
	return s
}

// hostStream and nativeStream pass on what communicators need.
type hostStream struct {
	*stream
	host device.HostStream
}

func (s hostStream) Call(what string, f func() error) { s.host.Call(what, f) }
func (s hostStream) Bytes(t *tensor.Tensor) []byte    { return s.host.Bytes(t) }
func (s hostStream) Sum(dst []byte, src [][]byte, t dtype.Type) {
	s.host.Sum(dst, src, t)
}

type nativeStream struct {
	*stream
	native device.NativeStream
}

func (s nativeStream) Native(what string, f func(queue uintptr) error) { s.native.Native(what, f) }
func (s nativeStream) Address(t *tensor.Tensor) uintptr                { return s.native.Address(t) }
func (s nativeStream) Fail(err error)                                  { s.native.Fail(err) }
