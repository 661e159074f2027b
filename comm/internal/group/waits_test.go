// SPDX-License-Identifier: Apache-2.0

package group

import (
	"sync/atomic"
	"testing"
	"time"

	"octet/comm"
)

// silent is a link to a rank that says nothing.
type silent struct{ Link }

func (silent) Await(uint32, int, *Message) (View, error) { return View{}, Timeout{World: 3} }

// TestAWaitThatFailedIsTold until the call has ended: whoever asks while this rank finds out why its deadline is over must not take it for the one to blame.
func TestAWaitThatFailedIsTold(t *testing.T) {
	control := &Control{members: []int{5, 3}}
	control.SetName("tp")
	c := &call{g: &Group{Control: control, link: silent{}}, sig: comm.Call{Kind: comm.Barrier, Seq: 2}, waiting: &atomic.Int32{}}
	w := &waits{}
	w.begin(c)
	if got := string(w.answer()); got != "null" {
		t.Errorf("before it waits: %s", got)
	}
	if _, err := c.wait(0, 1, nil); err == nil {
		t.Fatal("no deadline")
	}
	if got, want := string(w.answer()), `[{"Call":"barrier #2 of group \"tp\" (0 bytes)","For":3}]`; got != want {
		t.Errorf("answers %s, want %s", got, want)
	}
	w.end(c)
	if got := string(w.answer()); got != "null" {
		t.Errorf("after its end: %s", got)
	}
}

// answering is a net on which every rank gives the same answer.
type answering struct {
	Net
	with string
}

func (n answering) Ask(ranks []int, _ time.Duration) [][]byte {
	all := make([][]byte, len(ranks))
	for i, r := range ranks {
		if r < 0 || r > 3 {
			panic("a rank that is not there")
		}
		all[i] = []byte(n.with)
	}
	return all
}

// TestWaitsForNobodyAreNotFollowed: ranks that are not in the world, and circles.
func TestWaitsForNobodyAreNotFollowed(t *testing.T) {
	for _, answer := range []string{`[{"Call":"x","For":4},{"Call":"x","For":-1}]`, `[{"Call":"x","For":2}]`, `[{"Call":"x","For":0}]`} {
		g := &Group{Control: &Control{members: []int{0, 1, 2, 3}, net: answering{with: answer}, waits: &waits{world: 4}}}
		if ranks, way := g.behindThem([]int{2}); len(ranks) != 1 || ranks[0] != 2 || way != "" {
			t.Errorf("%s: %v %q", answer, ranks, way)
		}
	}
}
