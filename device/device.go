// SPDX-License-Identifier: Apache-2.0

// Package device says what a compute device is: memory, streams, events and
// the kernels that run on a stream. Package device/cpu implements it.
//
// Work on a Stream is asynchronous and in order; streams are joined by events.
// The first error sticks to its stream, everything after it is skipped, and
// Sync returns it:
//
//	dev, err := cpu.Open(cpu.Options{Threads: 1})
//	s := dev.NewStream("compute")
//	pool := device.NewPool(dev)
//	x, y := pool.New(dtype.Float32, 64, 32), pool.New(dtype.Float32, 64, 32)
//	s.Upload(x, bytes)
//	s.Copy(y, x)                   // returns at once
//	other.Wait(s.Record())         // what follows on other runs after the copy
//	err = s.Sync()                 // waits; the first error of the stream
package device

import (
	"time"

	"octet/dtype"
	"octet/tensor"
)

// Device owns memory and makes streams.
type Device interface {
	Name() string
	// Alloc returns a buffer of exactly that many bytes, aligned to 64. Its
	// contents are undefined.
	Alloc(bytes int) (tensor.Buffer, error)
	Free(tensor.Buffer)
	NewStream(name string) Stream
	// Close waits for all streams and frees what is left.
	Close() error
}

// Event is a point in a stream's order of work.
type Event interface {
	// Done reports whether all work before the event has run.
	Done() bool
	// Sync blocks until then and returns the stream's error so far, if any,
	// which also stays with the stream. What was downloaded before the event is
	// valid; work behind it goes on.
	Sync() error
}

// Stream is a queue of work that runs in order. All methods but Sync only
// enqueue. A wrong shape or type is a programmer's error and panics at the
// call; an error while running sticks until Sync.
type Stream interface {
	Kernels
	// Upload copies host memory to dst; src may be changed after Upload
	// returns. len(src) must be dst.Bytes().
	Upload(dst *tensor.Tensor, src []byte)
	// Download copies src to host memory, which is valid after the next Sync
	// of the stream or of an event behind it.
	Download(dst []byte, src *tensor.Tensor)
	// Record marks the work enqueued so far.
	Record() Event
	// Wait holds later work on this stream until e has happened. An error on
	// e's stream before e becomes an error of this stream.
	Wait(e Event)
	// Sync blocks until the stream is idle and returns its error, if any.
	Sync() error
}

// NativeStream is a stream whose work is a queue of a driver's, so that what another
// library enqueues there (a collective of NCCL's) can be a piece of it.
type NativeStream interface {
	Stream
	// Native calls f at once, on an operating-system thread on which the device is
	// current and which f keeps; f enqueues work on the queue, such as a CUstream.
	// Its error becomes the stream's, named by what. A stream that has an error
	// already does not call f.
	Native(what string, f func(queue uintptr) error)
	// Address is where t begins in the device's memory.
	Address(t *tensor.Tensor) uintptr
	// Fail makes err the stream's error, unless it has one. It may be called from any
	// goroutine, also while another waits in Sync, which then returns it once the
	// queue is idle.
	Fail(err error)
}

// TimedStream is a stream of a device with a clock, which notes when it comes to a point of
// the stream's work.
type TimedStream interface {
	Stream
	// Stamp marks the work enqueued so far, to have the time when all of it has run. It is nil where
	// the stream has an error.
	Stamp() Stamp
}

// Stamp is a time of a device's clock, once the device has come to it.
type Stamp interface {
	// Sync blocks until then.
	Sync() error
	// Since is how long after another stamp of the device that is. Both have been reached.
	Since(earlier Stamp) (time.Duration, error)
}

// GraphStream is a stream whose work can be written down, to run again and again by one call.
type GraphStream interface {
	Stream
	// Capture calls f, and what f enqueues does not run: it is written down, on this stream and on
	// those that f has wait for it, which it has to wait for before f ends. f may not wait for the host,
	// upload or download, and no stream may wait for an event of before. What work reads and writes is
	// memory, wherever that was: it stays the graph's until Close (Pool.Reserve). Where all that was not so the error
	// says why; then the streams are as they were, and what f enqueued never runs.
	Capture(f func()) (Graph, error)
}

// Graph is captured work.
type Graph interface {
	// Launch enqueues the work on the stream on which it was captured: behind all that this stream was given, and
	// before what it is given next.
	Launch()
	// Close ends the graph, once its stream is through with its launches.
	Close() error
}

// HostStream is a stream whose memory the host can touch, so that Go code
// (a collective over shared memory) can be a piece of its work.
type HostStream interface {
	Stream
	// Call enqueues f. what names it in errors.
	Call(what string, f func() error)
	// Bytes is the memory of t. It may be read and written only by work of
	// streams, in their order.
	Bytes(t *tensor.Tensor) []byte
	// Sum is for such work, while it runs: dst becomes the sum of src, two or more as long as it, of type t
	// (float32 or bfloat16), added in their order in float32 and rounded once. dst may be one of src.
	Sum(dst []byte, src [][]byte, t dtype.Type)
}
