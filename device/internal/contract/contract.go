// SPDX-License-Identifier: Apache-2.0

// Package contract holds what device.Kernels asks of the arguments of each kernel, for
// the devices that compute: a method panics with the shapes where a caller broke it.
//
//	const must = contract.Of("cpu")
//
//	func (s *Stream) Add(dst, a, b *tensor.Tensor) {
//		must.Add(dst, a, b)
//		…
//	}
package contract

import (
	"fmt"
	"slices"
	"strings"

	"octet/dtype"
	"octet/tensor"
)

// Of is the contract with a device of that name.
type Of string

// Hold panics with the shapes of ts unless ok; want says what the kernel takes. It is for
// what a device asks beyond device.Kernels.
func (d Of) Hold(ok bool, want string, ts ...*tensor.Tensor) {
	if ok {
		return
	}
	var got []string
	for _, t := range ts {
		got = append(got, t.String())
	}
	panic(fmt.Sprintf("%s: want %s; got %s", string(d), want, strings.Join(got, ", ")))
}

// isHP reports whether all are of high precision.
func isHP(ts ...*tensor.Tensor) bool {
	for _, t := range ts {
		if t.Type != dtype.Float32 && t.Type != dtype.BFloat16 {
			return false
		}
	}
	return true
}

func isF32(t *tensor.Tensor, n int) bool { return t.Type == dtype.Float32 && t.Numel() == n }

func isI32(t *tensor.Tensor, n int) bool { return t.Type == dtype.Int32 && t.Numel() == n }

func sameShape(a *tensor.Tensor, ts ...*tensor.Tensor) bool {
	for _, t := range ts {
		if !slices.Equal(t.Shape, a.Shape) {
			return false
		}
	}
	return true
}

func sameNumel(a *tensor.Tensor, ts ...*tensor.Tensor) bool {
	for _, t := range ts {
		if t.Numel() != a.Numel() {
			return false
		}
	}
	return true
}
