// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"octet/launcher/gang"
	"octet/proto/gangpb"
)

// FuzzMessages lets an agent say anything: its bytes are read as a message and
// go to a gang that trains, as that of a member and then as a stranger's. The gang
// still ends by itself, and a stranger's message does nothing at all.
func FuzzMessages(f *testing.F) {
	for _, m := range []*gangpb.FromAgent{
		{Body: &gangpb.FromAgent_Hello{Hello: &gangpb.Hello{LocalWorldSize: -5, NodeRank: 1}}},
		{Body: &gangpb.FromAgent_Started{Started: &gangpb.Started{}}},
		{Body: &gangpb.FromAgent_Beat{Beat: &gangpb.Beat{UnixNanos: 1 << 62}}},
		{Body: &gangpb.FromAgent_RankExit{RankExit: &gangpb.RankExit{Rank: 1, Code: 1, UnixNanos: -1 << 63, Tail: []string{"x"}}}},
		{Body: &gangpb.FromAgent_RankExit{RankExit: &gangpb.RankExit{Rank: -1, Signal: 1000}}},
		{Body: &gangpb.FromAgent_Stopped{Stopped: &gangpb.Stopped{}}},
		{Body: &gangpb.FromAgent_Fault{Fault: &gangpb.Fault{Why: "x"}}},
		{Body: &gangpb.FromAgent_Signal{Signal: &gangpb.Signal{}}},
		{Attempt: -1, Body: &gangpb.FromAgent_Signal{Signal: &gangpb.Signal{Number: 15}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	start := time.Unix(1000, 0)
	training := func() *gang.Gang {
		g := gang.New(gang.Config{Nodes: 2, JoinTimeout: time.Minute, StartTimeout: time.Minute,
			BeatTimeout: 5 * time.Second, FailGrace: time.Second, SignalGrace: time.Second}, start)
		for rank, node := range []string{"a", "b"} {
			g.Step(start, gang.Join{Node: node, NodeRank: rank, LocalWorldSize: 1})
		}
		for _, node := range []string{"a", "b"} {
			g.Step(start, gang.Started{Node: node})
		}
		return g
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var msg gangpb.FromAgent
		if proto.Unmarshal(b, &msg) != nil {
			return
		}
		g, c := training(), clock{}
		if ev := toEvent("stranger", &msg, &c); ev != nil {
			if out := g.Step(start, ev); len(out) > 0 || g.State() != gang.Running {
				t.Fatalf("a stranger's %v: %v, %v", ev, g.State(), out)
			}
		}
		if ev := toEvent("b", &msg, &c); ev != nil {
			g.Step(start, ev)
		}
		for i := 0; g.State() < gang.Done; i++ {
			if i == 100 {
				t.Fatalf("still %v after 100 deadlines", g.State())
			}
			g.Step(g.Deadline(), gang.Tick{})
		}
	})
}
