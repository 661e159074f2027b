// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"

	"octet/launcher/gang"
	"octet/proto"
)

// FuzzMessages lets an agent say anything: its bytes are read as a message and
// go to a gang that trains, as that of a member and then as a stranger's. The gang
// still ends by itself, and a stranger's message does nothing at all.
func FuzzMessages(f *testing.F) {
	for _, m := range []*proto.FromAgent{
		{Body: &proto.FromAgent_Hello{Hello: &proto.Hello{Slots: -5, NodeRank: 1}}},
		{Body: &proto.FromAgent_Started{Started: &proto.Started{}}},
		{Body: &proto.FromAgent_Beat{Beat: &proto.Beat{UnixNanos: 1 << 62}}},
		{Body: &proto.FromAgent_RankExit{RankExit: &proto.RankExit{Rank: 1, Code: 1, UnixNanos: -1 << 63, Tail: []string{"x"}}}},
		{Body: &proto.FromAgent_RankExit{RankExit: &proto.RankExit{Rank: -1, Signal: 1000}}},
		{Body: &proto.FromAgent_Stopped{Stopped: &proto.Stopped{}}},
		{Body: &proto.FromAgent_Fault{Fault: &proto.Fault{Why: "x"}}},
		{Body: &proto.FromAgent_Signal{Signal: &proto.Signal{}}},
		{Epoch: -1, Body: &proto.FromAgent_Signal{Signal: &proto.Signal{Number: 15}}},
	} {
		b, err := pb.Marshal(m)
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
			g.Step(start, gang.Join{Node: node, Rank: rank, Slots: 1})
		}
		for _, node := range []string{"a", "b"} {
			g.Step(start, gang.Started{Node: node})
		}
		return g
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var msg proto.FromAgent
		if pb.Unmarshal(b, &msg) != nil {
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
