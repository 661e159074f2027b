// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"syscall"
	"time"
)

// Event is something that happened: a message of a node, a signal, or time.
type Event interface{ event() }

// Join is a node that offers to run ranks.
type Join struct {
	Node           string // unique id of the node's agent
	Host           string // its host's name, for people
	Addr           string // address that others reach it by
	NodeRank       int    // asked for, -1 for any
	LocalWorldSize int    // number of ranks that it runs
	First          bool   // the coordinator's own node: in its process, so its life needs no sign
	Asked          []Asked
}

// Asked is one thing that the operator asked for and that all nodes have to have
// alike: "--max-restarts", "3".
type Asked struct{ Key, Value string }

// Started says that a node's ranks have been started.
type Started struct {
	Node    string
	Attempt int
}

// Beat is a sign of life.
type Beat struct{ Node string }

// Exited says that a rank of a node has ended.
type Exited struct {
	Node    string
	Attempt int
	Exit

	host string // the node's, which Step fills in
}

// Exit is how a rank ended.
type Exit struct {
	Rank      int
	LocalRank int
	PID       int
	Code      int            // exit status, where no signal ended it
	Signal    syscall.Signal // that ended it, else 0
	// At is when the rank failed: when it wrote its error file, else when it
	// ended; on the clock of whoever has the Exit.
	At time.Time
	// Message is the reason that the rank left in its error file.
	Message string
	// Victim says that the rank blames another for its failure.
	Victim bool
	// Killed says that the launcher had told the rank to stop before it failed.
	Killed bool
	// Frozen says that the rank was stopped (SIGSTOP) when it was told so.
	Frozen bool
	// Tail is the end of its stderr, or the beginning of a crash of the Go runtime;
	// 20 lines at most.
	Tail []string
}

// Stopped says that nothing of the node's ranks is left.
type Stopped struct {
	Node    string
	Attempt int
}

// Saving says that ranks of the node, which were told to stop, still save what they have
// done: they are not killed meanwhile.
type Saving struct {
	Node    string
	Attempt int
}

// Lost is a node whose connection ended.
type Lost struct {
	Node string
	Why  string
}

// Fault is a node that cannot run its ranks, now or later: its program does not
// exist, a file cannot be made. No restart follows.
type Fault struct {
	Node string
	Code int
	Why  string
}

// Signal is the operator who stops the job, at the agent of Node.
type Signal struct {
	Node   string
	Number syscall.Signal
}

// Paused says that the coordinator itself was stopped for a time, which ended just
// now: nobody had a chance to be heard.
type Paused struct{ For time.Duration }

// Tick says that time has passed.
type Tick struct{}

func (Join) event()    {}
func (Started) event() {}
func (Beat) event()    {}
func (Exited) event()  {}
func (Stopped) event() {}
func (Saving) event()  {}
func (Lost) event()    {}
func (Fault) event()   {}
func (Signal) event()  {}
func (Paused) event()  {}
func (Tick) event()    {}

// Action is something to be done by the shell around the gang.
type Action interface{ action() }

// Start tells every node to start its ranks, after a fresh store for this attempt
// has been opened.
type Start struct {
	Attempt int
	Worlds  map[string]World // by node
}

// World is the ranks of an attempt as one node sees them: its own are FirstRank to
// FirstRank+LocalWorldSize-1.
type World struct {
	Attempt        int // how many there were before (torchrun: the restart count)
	WorldSize      int // number of ranks of all nodes
	FirstRank      int
	LocalWorldSize int // number of ranks of this node
	GroupRank      int // number of this node
	GroupWorldSize int // number of nodes
}

// Stop tells every node to end its ranks: Signal to each, SIGKILL after Grace and, where MaySave is
// set, after what ranks still save (Saving).
type Stop struct {
	Attempt int
	Cause   string
	Signal  syscall.Signal
	Grace   time.Duration
	MaySave bool
}

// Reject refuses a node that wanted to join.
type Reject struct{ Node, Why string }

// Say tells the operator something.
type Say struct{ Text string }

// Finish releases every node: the job is over. Code is what the launcher exits
// with; the last line of Report says who failed first, and why.
type Finish struct {
	Code   int
	Report []string
}

func (Start) action()  {}
func (Stop) action()   {}
func (Reject) action() {}
func (Say) action()    {}
func (Finish) action() {}
