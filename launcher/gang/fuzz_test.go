// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"fmt"
	"testing"
	"time"
)

// FuzzGang plays any events to a gang and then only lets time pass: it must come
// to an end by itself, and finish exactly once.
func FuzzGang(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 16, 1, 17, 3, 4, 20, 1, 17, 48, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		now := epochStart
		g := New(Config{Nodes: 2, MaxRestarts: 1, JoinTimeout: time.Minute, StartTimeout: time.Minute,
			BeatTimeout: 5 * time.Second, FailGrace: time.Second, SignalGrace: time.Second}, now)
		finished := 0
		step := func(ev Event) {
			for _, a := range g.Step(now, ev) {
				if _, ok := a.(Finish); ok {
					finished++
				}
			}
			if final := g.State() >= Done; final != (finished == 1) {
				t.Fatalf("%v after %d Finish", g.State(), finished)
			}
		}
		for _, b := range script {
			// Four bits choose the event, the others a node, a rank or an epoch.
			n := int(b >> 4)
			node := fmt.Sprint(n % 3)
			switch b & 15 {
			case 0:
				step(Join{Node: node, Rank: n%4 - 1, Slots: 1 + n%2, First: n == 0})
			case 1:
				step(Started{Node: node, Epoch: g.Epoch()})
			case 2:
				step(Stopped{Node: node, Epoch: g.Epoch()})
			case 3:
				step(Exit{Node: node, Epoch: g.Epoch(), Rank: n, At: now})
			case 4:
				step(Exit{Node: node, Epoch: n & 1, Rank: n, Code: n, At: now, Killed: n&2 != 0, Victim: n&4 != 0, Frozen: n&8 != 0})
			case 5:
				step(Lost{Node: node})
			case 6:
				step(Fault{Node: node, Code: 127})
			case 7:
				step(Signal{Node: node, Number: 15})
			case 8:
				step(Beat{Node: node})
			default:
				now = now.Add(time.Duration(n) * 500 * time.Millisecond)
				step(Tick{})
			}
		}
		for i := 0; g.State() < Done; i++ {
			if i == 1000 {
				t.Fatalf("still %v after 1000 deadlines", g.State())
			}
			now = g.Deadline()
			step(Tick{})
		}
	})
}
