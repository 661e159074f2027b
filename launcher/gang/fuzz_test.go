// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// digest is all of a gang that an event can change.
func (g *Gang) digest() string {
	s := fmt.Sprintf("%v %d %v %d %v %d %v %v %v %v %v", g.state, g.attempt, g.signal, g.worldSize, g.final, len(g.failures), g.since, g.notBefore, g.nextSay, g.grace, g.exits)
	for _, n := range g.nodes {
		s += fmt.Sprintf("; %+v", *n)
	}
	return s
}

// FuzzGang plays any events to a gang and then only lets time pass: it must come
// to an end by itself, and finish exactly once. What a node says that has not
// joined, or has been refused, changes nothing.
func FuzzGang(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 16, 1, 17, 3, 4, 20, 1, 17, 48, 0})
	f.Add([]byte{32, 39, 38, 36, 37, 0, 16, 32, 39, 1, 17, 39, 38, 36})
	f.Fuzz(func(t *testing.T, script []byte) {
		now := start
		g := New(Config{Nodes: 2, MaxRestarts: 1, JoinTimeout: time.Minute, StartTimeout: time.Minute,
			BeatTimeout: 5 * time.Second, FailGrace: time.Second, SignalGrace: time.Second}, now)
		finished := 0
		step := func(ev Event) {
			for _, a := range g.Step(now, ev) {
				switch a := a.(type) {
				case Finish:
					if finished++; (a.Code == 0) != (g.State() == Done) {
						t.Fatalf("code %d in %v", a.Code, g.State())
					}
				case Start:
					for node, w := range a.Worlds {
						if w.WorldSize < 1 || w.LocalWorldSize < 1 || w.FirstRank+w.LocalWorldSize > w.WorldSize {
							t.Fatalf("the world of node %s is %+v", node, w)
						}
					}
				}
			}
			if final := g.State() >= Done; final != (finished == 1) {
				t.Fatalf("%v after %d Finish", g.State(), finished)
			}
		}
		// says is step for what node says, which may be a stranger.
		says := func(node string, ev Event) {
			if g.node(node) != nil {
				step(ev)
				return
			}
			step(Tick{}) // what is due is not the stranger's doing
			before := g.digest()
			if out := g.Step(now, ev); len(out) > 0 || g.digest() != before {
				t.Fatalf("%#v of a stranger: %v\nbefore %s\nafter  %s", ev, out, before, g.digest())
			}
		}
		for _, b := range script {
			// Four bits choose the event, the others a node, a rank or an attempt.
			n := int(b >> 4)
			node := fmt.Sprint(n % 3)
			switch b & 15 {
			case 0:
				step(Join{Node: node, NodeRank: n%4 - 1, LocalWorldSize: n % 3, First: n == 0})
			case 1:
				says(node, Started{Node: node, Attempt: g.attempt})
			case 2:
				says(node, Stopped{Node: node, Attempt: g.attempt})
			case 3:
				says(node, Exited{Node: node, Attempt: g.attempt, Exit: Exit{Rank: n / 3, At: now}})
			case 4:
				says(node, Exited{Node: node, Attempt: n & 1, Exit: Exit{Rank: n - 2, Code: n, At: now, Killed: n&2 != 0, Victim: n&4 != 0, Frozen: n&8 != 0}})
			case 5:
				says(node, Lost{Node: node})
			case 6:
				says(node, Fault{Node: node, Code: n - 3})
			case 7:
				says(node, Signal{Node: node, Number: syscall.Signal(15 * (n - 3))})
			case 8:
				says(node, Beat{Node: node})
			case 9:
				step(Paused{For: time.Duration(n) * time.Second})
			default:
				now = now.Add(time.Duration(n) * 500 * time.Millisecond)
				step(Tick{})
			}
		}
		for i := 0; g.State() < Done; i++ {
			if i == 1000 {
				t.Fatalf("still %v after 1000 deadlines", g.State())
			}
			if now = g.Deadline(); now.IsZero() { // one node, the coordinator's own: only its ranks can go on
				t.Fatal("two nodes are waited for, but there is no deadline")
			}
			step(Tick{})
		}
	})
}
