// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package host

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Where there is no futex, no memfd and no pidfd, every rank is a host of its own
// and meets the others over TCP: what shared memory needs is here only so that
// the package compiles, and a host of several ranks is an error.

// hostID is that of no other process.
func hostID() (string, error) {
	name, err := os.Hostname()
	return fmt.Sprintf("%s/%d/%d", name, os.Getpid(), time.Now().UnixNano()), err
}

var errNoSharing = fmt.Errorf("shared memory of ranks: %w", errors.ErrUnsupported)

func makeSegment(int) (*os.File, error)           { return nil, errNoSharing }
func openSegment(string, int) ([]byte, error)     { return nil, errNoSharing }
func mapFile(*os.File, int) ([]byte, error)       { return nil, errNoSharing }
func unmap([]byte) error                          { return nil }
func (c counter) wake()                           {}
func (c counter) block(_ uint32, d time.Duration) { time.Sleep(min(d, time.Millisecond)) }

// deaths watches no process.
type deaths struct{}

func watchDeaths([]int) (*deaths, error) { return nil, errNoSharing }
func (d *deaths) next() (i int, ok bool) { return 0, false }
func (d *deaths) stop()                  {}
func (d *deaths) close()                 {}
