// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"bytes"
	"fmt"
	"math"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Env is one rank in a case.
type Env struct {
	comm.Comm
	Device device.Device
	Stream device.Stream
	Promises

	streams []device.Stream
	buffers []tensor.Buffer
	wants   []want
}

// NewEnv makes a rank's environment; Close ends it.
func NewEnv(r Rank, p Promises) *Env {
	e := &Env{Comm: r.Comm, Device: r.Device, Promises: p}
	e.Stream = e.NewStream()
	return e
}

// NewStream starts another stream.
func (e *Env) NewStream() device.Stream {
	s := e.Device.NewStream(fmt.Sprintf("rank %d", e.Rank()))
	e.streams = append(e.streams, s)
	return s
}

// Close waits for the streams and frees the memory.
func (e *Env) Close() {
	for _, s := range e.streams {
		_ = s.Sync() // the case has returned what matters
	}
	for _, b := range e.buffers {
		e.Device.Free(b)
	}
	e.buffers = nil
}

// Hold stops a stream until release is called; nil where that cannot be done.
func (e *Env) Hold(s device.Stream) (release func()) {
	if e.Promises.Hold != nil {
		return e.Promises.Hold(s)
	}
	host, ok := s.(device.HostStream)
	if !ok {
		return nil
	}
	gate := make(chan struct{})
	host.Call("held", func() error { <-gate; return nil })
	return func() { close(gate) }
}

// empty allocates a tensor.
func (e *Env) empty(t dtype.Type, shape ...int) *tensor.Tensor {
	n := t.Size()
	for _, d := range shape {
		n *= d
	}
	buf, err := e.Device.Alloc(max(1, n))
	if err != nil {
		panic(fmt.Sprintf("commtest: %v", err))
	}
	e.buffers = append(e.buffers, buf)
	return tensor.New(buf, t, shape...)
}

// New makes a tensor of zeros, for Stream.
func (e *Env) New(t dtype.Type, shape ...int) *tensor.Tensor {
	x := e.empty(t, shape...)
	e.Stream.Zero(x)
	return x
}

// Put makes a tensor [n] of v, for Stream.
func (e *Env) Put(v Values) *tensor.Tensor {
	x := e.empty(v.Type, v.Len())
	e.Stream.Upload(x, v.Bytes)
	return x
}

// Get waits for Stream and reads a tensor.
func (e *Env) Get(x *tensor.Tensor) (Values, error) {
	v := Values{x.Type, make([]byte, x.Bytes())}
	e.Stream.Download(v.Bytes, x)
	return v, e.Stream.Sync()
}

// everyone is what each rank draws.
func (e *Env) everyone(t dtype.Type, n, seed int) []Values {
	vs := make([]Values, e.Size())
	for q := range vs {
		vs[q] = Draw(t, n, q, seed)
	}
	return vs
}

// want is what a tensor should hold: bits, or sums within a tolerance of them.
type want struct {
	what string
	got  *tensor.Tensor
	bits Values
	sums []Values // what was reduced; nil: bits are meant
}

// want notes what a tensor should hold when Stream has come here.
func (e *Env) want(what string, got *tensor.Tensor, bits Values) {
	e.wants = append(e.wants, want{what: what, got: e.copied(got), bits: bits})
}

// wantReduced is want for part q of parts of what op makes of all.
func (e *Env) wantReduced(what string, got *tensor.Tensor, all []Values, op comm.Op, q, parts int) {
	w := want{what: fmt.Sprint(what, " ", op), got: e.copied(got), bits: Reduce(all, op).part(q, parts)}
	for _, v := range all {
		w.sums = append(w.sums, v.part(q, parts))
	}
	e.wants = append(e.wants, w)
}

// copied is got as it is now: later calls may write to it.
func (e *Env) copied(got *tensor.Tensor) *tensor.Tensor {
	c := e.empty(got.Type, got.Shape...)
	e.Stream.Copy(c, got)
	return c
}

// verify compares all that was noted.
func (e *Env) verify() error {
	wants := e.wants
	e.wants = nil
	for _, w := range wants {
		got, err := e.Get(w.got)
		if err != nil {
			return err
		}
		if err := w.compare(got, e.Tolerance[got.Type]); err != nil {
			return err
		}
	}
	return e.Stream.Sync()
}

func (w want) compare(got Values, tolerance float64) error {
	if bytes.Equal(got.Bytes, w.bits.Bytes) {
		return nil
	}
	if got.Len() != w.bits.Len() {
		return fmt.Errorf("%s: %d elements, want %d", w.what, got.Len(), w.bits.Len())
	}
	for i := range got.Len() {
		a, b := got.element(i), w.bits.element(i)
		if bytes.Equal(a, b) {
			continue
		}
		if w.sums == nil || tolerance == 0 {
			return fmt.Errorf("%s: element %d of %v is % x, want % x", w.what, i, w.got, a, b)
		}
		size := 0.0
		for _, v := range w.sums {
			size += math.Abs(float64(v.float(i)))
		}
		if off := math.Abs(float64(got.float(i) - w.bits.float(i))); !(off <= tolerance*size) {
			return fmt.Errorf("%s: element %d of %v is %v, want %v within %g", w.what, i, w.got, got.float(i), w.bits.float(i), tolerance*size)
		}
	}
	return nil
}
