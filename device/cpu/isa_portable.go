// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !amd64

package cpu

const haveC = false

// detect finds nothing: without a C compiler only the Go kernels are built.
func detect() map[ISA]bool { return nil }
