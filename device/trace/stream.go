// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"time"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// stream decorates one; its kernels are in kernels.go.
type stream struct {
	inner device.Stream
	host  device.HostStream  // inner, or nil
	clock device.TimedStream // inner, or nil: without both there are no times
	name  string
	log   *Log
}

var (
	_ device.Stream       = (*stream)(nil)
	_ device.HostStream   = hostStream{}
	_ device.NativeStream = nativeStream{}
)

// Mark is the beginning of a span; the zero value is that of none.
type Mark struct {
	s     *stream
	span  *Span
	start time.Time
	begun device.Stamp
}

// begin notes a span and enqueues the reading of the clock.
func (s *stream) begin(span *Span) Mark {
	span.Stream = s.name
	m := Mark{s: s, span: span, start: s.log.add(span)}
	switch {
	case s.host != nil:
		s.host.Call("trace", func() error {
			span.Begin = time.Since(m.start)
			return nil
		})
	case s.clock != nil:
		s.log.set(s.clock)
		m.begun = s.clock.Stamp()
	}
	return m
}

// End is to be called when the span's work has been enqueued.
func (m Mark) End() {
	switch {
	case m.span == nil:
	case m.s.host != nil:
		m.s.host.Call("trace", func() error {
			m.span.End, m.span.Timed = time.Since(m.start), true
			return nil
		})
	case m.begun != nil:
		if ended := m.s.clock.Stamp(); ended != nil {
			m.s.log.resolve(timed{m.span, m.begun, ended})
		}
	}
}

// Begin notes a collective that is enqueued on s by what follows, until Mark.End; what
// describes it is called only if s is traced. inner is the stream to enqueue it on: its
// own pieces are not noted.
func Begin(s device.Stream, describe func() Span) (inner device.Stream, m Mark) {
	t, ok := s.(interface{ traced() *stream })
	if !ok {
		return s, Mark{}
	}
	own := t.traced()
	if !own.log.on.Load() {
		return own.inner, Mark{}
	}
	span := describe()
	return own.inner, own.begin(&span)
}

func (s *stream) traced() *stream { return s }

// kernel notes one whose tensors are each read or written once; more are bytes besides.
func (s *stream) kernel(name string, more int, args ...*tensor.Tensor) Mark {
	if !s.log.on.Load() {
		return Mark{}
	}
	span := &Span{Kind: Kernel, Name: name, Bytes: int64(more)}
	span.add(args...)
	return s.begin(span)
}

// add appends tensors that are not nil.
func (s *Span) add(ts ...*tensor.Tensor) {
	for _, t := range ts {
		if t != nil {
			s.Args = append(s.Args, Arg{Type: t.Type, Shape: t.Shape})
			s.Bytes += int64(t.Bytes())
		}
	}
}

// operands appends those that are there, with their scales' bytes.
func (s *Span) operands(os ...tensor.Operand) {
	for _, o := range os {
		if o.Tensor == nil {
			continue
		}
		s.add(o.Tensor)
		s.Args[len(s.Args)-1].Transposed = o.Transposed
		if o.Inv != nil {
			s.Bytes += int64(o.Inv.Bytes())
		}
	}
}

func (s *stream) Upload(dst *tensor.Tensor, src []byte) {
	defer s.transfer("upload", dst).End()
	s.inner.Upload(dst, src)
}

func (s *stream) Download(dst []byte, src *tensor.Tensor) {
	defer s.transfer("download", src).End()
	s.inner.Download(dst, src)
}

func (s *stream) transfer(name string, t *tensor.Tensor) Mark {
	m := s.kernel(name, 0, t)
	if m.span != nil {
		m.span.Kind = Transfer
	}
	return m
}

// event knows its stream.
type event struct {
	device.Event
	stream string
}

func (s *stream) Record() device.Event { return &event{s.inner.Record(), s.name} }

func (s *stream) Wait(e device.Event) {
	of := "an event"
	if own, ok := e.(*event); ok {
		e, of = own.Event, own.stream
	}
	if s.log.on.Load() {
		defer s.begin(&Span{Kind: Wait, Name: "wait", Of: of}).End()
	}
	s.inner.Wait(e)
}

func (s *stream) Sync() error    { return s.inner.Sync() }
func (s *stream) Float8TN() bool { return s.inner.Float8TN() }

// unit is the type whose arithmetic unit multiplies operands of two types: float8 is exact in
// bf16, and only with fast accumulation does it take a unit of its own.
func unit(a, b dtype.Type, fast bool) dtype.Type {
	switch {
	case a == dtype.Float32 || b == dtype.Float32:
		return dtype.Float32
	case a.IsFloat8() && b.IsFloat8() && fast:
		return dtype.Float8E4M3
	}
	return dtype.BFloat16
}
