// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !cgo

package topo

import "fmt"

// Open finds no GPU: NVML needs Linux and cgo.
func Open() (*Host, error) { return nil, errBuild() }

// Watch finds no GPU either.
func Watch(string) (usage func() (Usage, error), done func(), err error) { return nil, nil, errBuild() }

func errBuild() error {
	return fmt.Errorf("%w: this octet was built without cgo, or not for Linux", ErrNoNVML)
}
