// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"reflect"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"octet/launcher/gang"
	"octet/proto/gangpb"
)

// filled fails the test if a field is zero: it could not be seen to travel.
func filled(t *testing.T, v any) {
	t.Helper()
	r := reflect.ValueOf(v)
	for i := range r.NumField() {
		f := r.Type().Field(i)
		if f.Anonymous {
			filled(t, r.Field(i).Interface())
		} else if r.Field(i).IsZero() && f.IsExported() && f.Name != "First" { // which is seen, not said
			t.Errorf("%T: give %s a value", v, f.Name)
		}
	}
}

// overWire is m as it arrives.
func overWire[M proto.Message](t *testing.T, m, empty M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, empty); err != nil {
		t.Fatal(err)
	}
	return empty
}

func TestEventsArriveAsTheyWere(t *testing.T) {
	for _, ev := range []gang.Event{
		gang.Join{Node: "n", Host: "gpu7", Addr: "10.0.0.7", NodeRank: 3, LocalWorldSize: 8, Asked: []gang.Asked{{Key: "--nnodes", Value: "4"}}},
		gang.Started{Node: "n", Attempt: 2},
		gang.Beat{Node: "n"},
		gang.Exited{Node: "n", Attempt: 2, Exit: gang.Exit{
			Rank: 25, LocalRank: 1, PID: 4711, Code: 7, Signal: syscall.SIGSEGV, At: time.Unix(1700000000, 5), Message: "loss is NaN",
			Victim: true, Killed: true, Frozen: true, Tail: []string{"last", "words"},
		}},
		gang.Stopped{Node: "n", Attempt: 2},
		gang.Saving{Node: "n", Attempt: 2},
		gang.Fault{Node: "n", Code: 127, Why: "no such program"},
		gang.Signal{Node: "n", Number: syscall.SIGINT},
	} {
		filled(t, ev)
		m := fromEvent(ev)
		m.Attempt = 2
		m = overWire(t, m, &gangpb.FromAgent{})
		got := toEvent("n", m, &clock{known: true})
		if hello := m.GetHello(); hello != nil {
			got = toJoin("n", hello)
		}
		if !reflect.DeepEqual(got, ev) {
			t.Errorf("got  %+v\nwant %+v", got, ev)
		}
	}
}

func TestActionsArriveAsTheyWere(t *testing.T) {
	for _, a := range []gang.Action{
		gang.Stop{Attempt: 2, Cause: "rank 1 failed", Signal: syscall.SIGTERM, Grace: 5 * time.Second, MaySave: true},
		gang.Say{Text: "waiting"},
		gang.Finish{Code: 7, Report: []string{"first", "to fail"}},
		gang.Reject{Node: "n", Why: "complete"},
	} {
		filled(t, a)
		got := toAction(overWire(t, fromAction(a), &gangpb.FromCoordinator{}))
		if r, ok := got.(gang.Reject); ok {
			r.Node = "n" // whoever receives it
			got = r
		}
		if !reflect.DeepEqual(got, a) {
			t.Errorf("got  %+v\nwant %+v", got, a)
		}
	}
	w := gang.World{Attempt: 2, WorldSize: 32, FirstRank: 24, LocalWorldSize: 8, GroupRank: 3, GroupWorldSize: 4}
	filled(t, w)
	m := overWire(t, fromWorld(w, 29500), &gangpb.FromCoordinator{})
	if got := toWorld(m.Attempt, m.GetWorld(), 8); got != w || m.GetWorld().TorchPort != 29500 {
		t.Errorf("got  %+v, port %d\nwant %+v, port 29500", got, m.GetWorld().TorchPort, w)
	}
}
