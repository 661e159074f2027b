// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !linux

package cuda

import (
	"time"

	"octet/device"
	"octet/device/cuda/api"
	"octet/dtype"
	"octet/tensor"
)

// Options of a device.
type Options struct {
	Ordinal      int
	BlockingSync bool
	Search       api.Search
}

// Device is none that this build can open.
type Device struct{ device.Device }

// Open fails: this build cannot open the driver.
func Open(Options) (*Device, error) { return nil, api.ErrNoCgo }

// Info is of no device.
func (d *Device) Info() Info { return Info{} }

// Memory is of no device.
func (d *Device) Memory() (free, total int64) { return 0, 0 }

// Warning is of no device.
func (d *Device) Warning() string { return "" }

// Peak is of no device.
func (d *Device) Peak(dtype.Type) float64 { return 0 }

// Tune is of no device.
func (d *Device) Tune(device.Stream, *tensor.Tensor, tensor.Operand, tensor.Operand, device.MatMulOptions, int, time.Duration) (device.Tuning, error) {
	return device.Tuning{}, api.ErrNoCgo
}

// SaveTuned is of no device.
func (d *Device) SaveTuned() (string, error) { return "", api.ErrNoCgo }

// Check fails.
func Check(api.Search, int) ([]Info, error) { return nil, api.ErrNoCgo }

// Inspect finds nothing: this build cannot look.
func Inspect(api.Search) (r Report) {
	for _, name := range []string{"cuda", "cublaslt", "nccl"} {
		r.Libraries = append(r.Libraries, LibraryReport{Soname: api.Soname(name), Err: api.ErrNoCgo})
	}
	return r
}
