// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"fmt"
	"time"
)

// Control is what the communicators of this module offer besides collectives.
// A mesh names its groups with it, train changes the deadline after the first
// step, and whoever made the first communicator closes it.
type Control interface {
	// Name is what errors and records call the group: "world", or what
	// SetName gave; a group made by Split starts as "world/0.1", color 1 of
	// its parent's split 0.
	Name() string
	SetName(name string)
	// SetTimeout changes how long any wait of any group of the job may take
	// on this rank.
	SetTimeout(d time.Duration)
	// Close releases what the communicator and all groups split from it hold.
	// Streams must be idle.
	Close() error
}

// PeerError is what other ranks did to this one: they have not arrived in time,
// or are gone. This rank is not to blame.
type PeerError struct {
	Ranks []int // of the world
	Text  string
}

// Error is such as "rank 1 has not arrived after 10s; arrived: 0, 2".
func (e *PeerError) Error() string { return e.Text }

// AbortError ends every pending and later call of a job: on the rank that
// found the fault and, by its text, on all others.
type AbortError struct {
	Rank int // the rank of the world that aborted
	Err  error
}

// Error names the rank and the cause.
func (e *AbortError) Error() string { return fmt.Sprintf("aborted by rank %d: %v", e.Rank, e.Err) }

// Unwrap is the cause.
func (e *AbortError) Unwrap() error { return e.Err }
