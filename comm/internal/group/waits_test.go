// SPDX-License-Identifier: Apache-2.0

package group

import (
	"sync/atomic"
	"testing"

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
