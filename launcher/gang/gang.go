// SPDX-License-Identifier: Apache-2.0

// Package gang is the logic of the launcher as a pure state machine: which nodes
// form a gang, when their ranks start, what happens when one fails. Events go
// in; actions and the next deadline come out. It does no I/O, starts no
// goroutine and reads no clock, so its tests are text scenarios (testdata) in
// which hours cost nothing. launcher/agent is the shell around it.
//
//	Forming ── all nodes joined ──▶ Starting ── all acknowledged ──▶ Running ── all ranks exited 0 ──▶ Done
//	   ▲                               │                                │
//	   │                               └──────── a failure ─────────────┤
//	   │                                                                ▼
//	   └── restarts left ── Stopping ◀── rank failed, node lost, signal
//	                           └── none left ──▶ Failed
package gang

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// State is where the gang is.
type State int

// The states. Done and Failed are final.
const (
	Forming  State = iota // waiting for nodes
	Starting              // nodes know their ranks and start them
	Running
	Stopping // every rank is told to stop
	Done     // all ranks exited 0
	Failed
)

// String is the state's name.
func (s State) String() string {
	return [...]string{"Forming", "Starting", "Running", "Stopping", "Done", "Failed"}[s]
}

// Config says what a gang needs and how long it waits.
type Config struct {
	Nodes       int     // number of nodes
	MaxRestarts int     // restarts of the whole gang, whichever node failed
	Asked       []Asked // what every node has to have been asked for
	Host        string  // the coordinator's, for people

	JoinTimeout  time.Duration // for all nodes to join
	StartTimeout time.Duration // for all nodes to start their ranks
	BeatTimeout  time.Duration // without a sign of life a node is lost
	FailGrace    time.Duration // between the signal and SIGKILL when a rank failed
	SignalGrace  time.Duration // the same when the operator stops the job
}

// sayEvery is how often a gang says what it waits for.
const sayEvery = 5 * time.Second

// Gang is the state of one job. Make it with New; it is not safe for concurrent
// use.
//
// In Starting, Running and Stopping, nodes are ordered by group rank, and no
// node joins.
type Gang struct {
	cfg   Config
	state State
	nodes []*node

	attempt   int // how many there were before; every message about ranks carries it
	worldSize int // ranks of this attempt

	since     time.Time // of the state
	notBefore time.Time // in Forming: the end of the back-off
	nextSay   time.Time // in Forming

	exits    []Exited
	failures []failure      // of this attempt or, in Forming, of the one before
	signal   syscall.Signal // the operator's, 0 if none
	final    bool           // in Stopping: no restart follows
	grace    time.Duration
	out      []Action
}

type node struct {
	Join
	firstRank int // of this attempt
	seen      time.Time
	started   bool
	stopped   bool
}

// New returns a gang in Forming.
func New(cfg Config, now time.Time) *Gang {
	return &Gang{cfg: cfg, since: now, nextSay: now.Add(sayEvery)}
}

// State returns the gang's state.
func (g *Gang) State() State { return g.state }

// Step takes an event that happened at now and returns what is to be done.
// Events of other attempts, of nodes that have not joined, and such as cannot be
// true change nothing, whatever the shell let through.
func (g *Gang) Step(now time.Time, ev Event) []Action {
	g.out = nil
	if g.state >= Done {
		return nil
	}
	switch ev := ev.(type) {
	case Join:
		g.join(now, ev)
	case Started:
		if n := g.node(ev.Node); n != nil && ev.Attempt == g.attempt && g.state == Starting {
			n.seen, n.started = now, true
			g.running(now)
		}
	case Beat:
		if n := g.node(ev.Node); n != nil {
			n.seen = now
		}
	case Exited:
		if n := g.node(ev.Node); n != nil && ev.Attempt == g.attempt && g.state != Forming && g.expected(n, ev) {
			n.seen = now
			ev.host = n.Host
			g.exit(now, ev)
		}
	case Stopped:
		if n := g.node(ev.Node); n != nil && ev.Attempt == g.attempt && g.state == Stopping {
			n.seen, n.stopped = now, true
		}
	case Saving:
		if n := g.node(ev.Node); n != nil && ev.Attempt == g.attempt && g.state == Stopping {
			n.seen, g.since = now, now
		}
	case Lost:
		if n := g.node(ev.Node); n != nil {
			g.lost(now, n, ev.Why)
		}
	case Fault:
		if n := g.node(ev.Node); n != nil {
			g.final = true
			g.fail(now, failure{at: now, code: max(1, ev.Code), what: nodeName(n), why: ev.Why})
		}
	case Signal:
		if n := g.node(ev.Node); n != nil && ev.Number >= 1 && ev.Number <= maxSignal {
			g.interrupt(now, n, ev)
		}
	case Paused:
		g.paused(ev.For)
	case Tick:
	}
	g.expire(now)
	return g.out
}

// Deadline returns when Step wants a Tick, if no event comes before; zero: never.
func (g *Gang) Deadline() time.Time {
	var at []time.Time
	switch g.state {
	case Forming:
		at = append(at, g.nextSay, g.since.Add(g.cfg.JoinTimeout))
		if len(g.nodes) == g.cfg.Nodes {
			at = append(at, g.notBefore)
		}
	case Starting:
		at = append(at, g.since.Add(g.cfg.StartTimeout))
	case Stopping:
		at = append(at, g.stopDeadline())
	case Done, Failed:
		return time.Time{}
	}
	for _, n := range g.nodes {
		if !n.First {
			at = append(at, n.seen.Add(g.cfg.BeatTimeout))
		}
	}
	if len(at) == 0 { // running on one host: nothing to wait for but events
		return time.Time{}
	}
	return slices.MinFunc(at, time.Time.Compare)
}

// expire does what is due at now, and moves to the next state where this one is
// complete.
func (g *Gang) expire(now time.Time) {
	for _, n := range slices.Clone(g.nodes) {
		if g.state < Done && !n.First && !now.Before(n.seen.Add(g.cfg.BeatTimeout)) {
			g.lost(now, n, fmt.Sprintf("no sign of life for %v", now.Sub(n.seen).Round(time.Second)))
		}
	}
	switch g.state {
	case Forming:
		g.form(now)
	case Starting:
		if !now.Before(g.since.Add(g.cfg.StartTimeout)) {
			n := g.nodes[slices.IndexFunc(g.nodes, func(n *node) bool { return !n.started })]
			g.fail(now, failure{at: now, code: 1, what: nodeName(n),
				why: fmt.Sprintf("did not start its ranks in %v", g.cfg.StartTimeout)})
		}
	case Stopping:
		g.stopping(now)
	}
}

// start assigns ranks: the nodes in the order of the node ranks that they asked
// for, nodes that asked for none by address after the coordinator's own.
func (g *Gang) start(now time.Time) {
	slices.SortStableFunc(g.nodes, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.NodeRank, b.NodeRank), boolCompare(b.First, a.First), cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Node, b.Node))
	})
	g.worldSize = 0
	for _, n := range g.nodes {
		n.firstRank, n.started, n.stopped = g.worldSize, false, false
		g.worldSize += n.LocalWorldSize
	}
	worlds := map[string]World{}
	for i, n := range g.nodes {
		worlds[n.Node] = World{Attempt: g.attempt, WorldSize: g.worldSize, FirstRank: n.firstRank, LocalWorldSize: n.LocalWorldSize, GroupRank: i, GroupWorldSize: len(g.nodes)}
	}
	g.exits, g.failures, g.final = nil, nil, false
	g.state, g.since = Starting, now
	g.out = append(g.out, Start{Attempt: g.attempt, Worlds: worlds})
}

func (g *Gang) running(now time.Time) {
	if g.state == Starting && !slices.ContainsFunc(g.nodes, func(n *node) bool { return !n.started }) {
		g.state, g.since = Running, now
	}
}

// maxSignal is the highest number of a signal.
const maxSignal = 64

// expected reports whether an exit can be true: of a rank of the node that has not
// ended yet, with a status that the system gives.
func (g *Gang) expected(n *node, e Exited) bool {
	return e.Rank >= n.firstRank && e.Rank < n.firstRank+n.LocalWorldSize && e.Code >= 0 && e.Code <= 255 && e.Signal >= 0 && e.Signal <= maxSignal &&
		!slices.ContainsFunc(g.exits, func(other Exited) bool { return other.Rank == e.Rank })
}

func (g *Gang) exit(now time.Time, e Exited) {
	g.exits = append(g.exits, e)
	if e.Code == 0 && e.Signal == 0 || e.Killed {
		if len(g.exits) == g.worldSize && g.state == Running {
			g.state = Done
			g.out = append(g.out, Finish{Code: 0})
		}
		return
	}
	g.fail(now, failure{at: e.At, class: e.class(), code: e.ExitCode(), what: rankName(e), why: e.why(), exit: &e})
}

// lost removes a node that can no longer be reached.
func (g *Gang) lost(now time.Time, n *node, why string) {
	g.nodes = slices.DeleteFunc(g.nodes, func(m *node) bool { return m == n })
	if g.state == Forming {
		g.out = append(g.out, Say{fmt.Sprintf("lost %s while waiting for others: %s", nodeName(n), why)})
		return
	}
	g.fail(now, failure{at: now, code: 1, what: nodeName(n), why: "lost: " + why})
}

// paused moves all that is waited for by the time in which nothing could come.
func (g *Gang) paused(d time.Duration) {
	g.since, g.notBefore, g.nextSay = g.since.Add(d), g.notBefore.Add(d), g.nextSay.Add(d)
	for _, n := range g.nodes {
		n.seen = n.seen.Add(d)
	}
}

func (g *Gang) node(id string) *node {
	i := slices.IndexFunc(g.nodes, func(n *node) bool { return n.Node == id })
	if i < 0 {
		return nil
	}
	return g.nodes[i]
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
