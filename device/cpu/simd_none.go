// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !amd64

package cpu

// tableOf is the Go functions: there are no others in this build.
func tableOf(ISA) *table { return portable() }
