// SPDX-License-Identifier: Apache-2.0

// Package null is a device that holds nothing and computes nothing, with work that is done
// as soon as it is enqueued. A program runs on it in no time and no memory, and takes from
// it what it takes from any other: for what a program needs before it starts.
//
//	dev := null.Open(null.Options{})
//	… a step of training …
//	dev.Allocated() // bytes
//
// Nothing is written, host memory of a Download included, and no shape is checked.
package null

import (
	"octet/device"
	"octet/tensor"
)

// Options of a device.
type Options struct {
	// Float8TN has float8 operands lie as a device's matmuls want that read only such whose
	// summed dimension is contiguous.
	Float8TN bool
}

// Device implements device.Device.
type Device struct {
	opts      Options
	allocated int
}

var _ device.Device = (*Device)(nil)

// Open makes one. It is for one goroutine.
func Open(o Options) *Device { return &Device{opts: o} }

// Allocated is how many bytes it was asked for and not given back.
func (d *Device) Allocated() int { return d.allocated }

// Name is "null".
func (d *Device) Name() string { return "null" }

// buffer is the size of what would be memory.
type buffer struct{ bytes int }

func (b *buffer) Len() int { return b.bytes }

// Alloc counts, and never fails.
func (d *Device) Alloc(bytes int) (tensor.Buffer, error) {
	d.allocated += bytes
	return &buffer{bytes}, nil
}

// Free counts.
func (d *Device) Free(b tensor.Buffer) { d.allocated -= b.Len() }

// NewStream makes a stream whose work is done at once.
func (d *Device) NewStream(string) device.Stream { return stream{d.opts} }

// Close does nothing.
func (d *Device) Close() error { return nil }

// event has happened.
type event struct{}

func (event) Done() bool  { return true }
func (event) Sync() error { return nil }
