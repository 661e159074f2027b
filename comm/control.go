// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"fmt"
	"slices"
	"strings"
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

// ControlGroup is the ranks of a group as they agree with one another through the
// host: names, deadlines, who is missing, why all end. It moves no tensor and knows of
// no stream; a communicator whose data goes another way is made on top of it. All
// methods may be called from any goroutine.
type ControlGroup interface {
	Control
	Rank() int
	Size() int
	// World is the number, among all ranks of the job, of rank q of the group.
	World(q int) int
	// Exchange gives every rank's value to every rank, in the order of ranks. All
	// call it in the same order; what names it in errors, which name who has not
	// come within the timeout. An error ends the job.
	Exchange(what string, value []byte) ([][]byte, error)
	// Subgroup is Comm.Split for control groups.
	Subgroup(color, key int) (ControlGroup, error)
	// Answer sets what this rank answers to Ask, whichever group asks. It is called
	// from goroutines of the group's.
	Answer(with func() []byte)
	// Ask returns what the ranks of the group answer, by rank, its own answer among
	// them; nil is the answer of a rank whose process did not answer in time.
	Ask(patience time.Duration) [][]byte
	// Abort ends the job on all its ranks, with the first cause that any rank gave.
	Abort(cause error)
	// Done is closed when the job was aborted, and Cause is then an AbortError.
	Done() <-chan struct{}
	Cause() error
	// Timeout is how long any wait may take on this rank.
	Timeout() time.Duration
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

// Missing is a PeerError that says what the ranks have done or not: "ranks 1, 2 have
// not arrived".
func Missing(ranks []int, what string) *PeerError {
	text := "ranks " + List(ranks) + " have " + what
	if len(ranks) == 1 {
		text = "rank " + List(ranks) + " has " + what
	}
	return &PeerError{Ranks: ranks, Text: text}
}

// List is ranks in their order, "0, 1, 2".
func List(ranks []int) string {
	ranks = slices.Sorted(slices.Values(ranks))
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ranks), " ", ", "), "[]")
}

// Alone makes groups where no other rank exists (comm/null).
type Alone interface {
	// Of is one rank of a group of so many.
	Of(rank, size int) Comm
}
