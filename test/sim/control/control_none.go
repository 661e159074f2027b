// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

// Package control asks the simulated driver what a test wants to know of it; without cgo
// there is none.
package control

import (
	"errors"
	"testing"
)

// Driver is none that this build has.
type Driver struct{}

// Open fails.
func Open(string) (*Driver, error) {
	return nil, errors.New("control: built without cgo: there is no simulated driver")
}

// Watch skips the test.
func Watch(t testing.TB, path string) *Driver {
	_, err := Open(path)
	t.Skip(err)
	return nil
}

func (*Driver) Findings() []string   { return nil }
func (*Driver) Count(string) int     { return 0 }
func (*Driver) Reset()               {}
func (*Driver) Name(uintptr, string) {}
