// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"syscall"
	"time"

	"octet/launcher/gang"
	"octet/proto/gangpb"
)

// Events, actions and worlds are package gang's; package gangpb is how they travel.
// Here one becomes the other.

// fromEvent is what an agent says of an event of its node, without run and attempt.
func fromEvent(ev gang.Event) *gangpb.FromAgent {
	switch ev := ev.(type) {
	case gang.Join:
		hello := &gangpb.Hello{Host: ev.Host, Addr: ev.Addr, NodeRank: int32(ev.NodeRank), LocalWorldSize: int32(ev.LocalWorldSize), Version: protocolVersion}
		for _, a := range ev.Asked {
			hello.Asked = append(hello.Asked, &gangpb.Asked{Key: a.Key, Value: a.Value})
		}
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Hello{Hello: hello}}
	case gang.Started:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Started{Started: &gangpb.Started{}}}
	case gang.Beat:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Beat{Beat: &gangpb.Beat{UnixNanos: time.Now().UnixNano()}}}
	case gang.Exited:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_RankExit{RankExit: &gangpb.RankExit{
			Rank: int32(ev.Rank), LocalRank: int32(ev.LocalRank), Pid: int32(ev.PID), Code: int32(ev.Code), Signal: int32(ev.Signal),
			UnixNanos: ev.At.UnixNano(), Message: ev.Message, Victim: ev.Victim, Killed: ev.Killed, Frozen: ev.Frozen, Tail: ev.Tail,
		}}}
	case gang.Stopped:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Stopped{Stopped: &gangpb.Stopped{}}}
	case gang.Saving:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Saving{Saving: &gangpb.Saving{}}}
	case gang.Fault:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Fault{Fault: &gangpb.Fault{Code: int32(ev.Code), Why: ev.Why}}}
	case gang.Signal:
		return &gangpb.FromAgent{Body: &gangpb.FromAgent_Signal{Signal: &gangpb.Signal{Number: int32(ev.Number)}}}
	}
	panic(fmt.Sprintf("agent: there is no message for %T", ev))
}

// toJoin is an agent's first message, of the node that the coordinator calls by
// that name.
func toJoin(node string, m *gangpb.Hello) gang.Join {
	join := gang.Join{Node: node, Host: m.Host, Addr: m.Addr, NodeRank: int(m.NodeRank), LocalWorldSize: int(m.LocalWorldSize)}
	for _, a := range m.Asked {
		join.Asked = append(join.Asked, gang.Asked{Key: a.Key, Value: a.Value})
	}
	return join
}

// toEvent is any other message of an agent, nil if it means nothing. Its times are
// put on the coordinator's clock.
func toEvent(node string, m *gangpb.FromAgent, clock *clock) gang.Event {
	attempt := int(m.Attempt)
	switch body := m.Body.(type) {
	case *gangpb.FromAgent_Started:
		return gang.Started{Node: node, Attempt: attempt}
	case *gangpb.FromAgent_Beat:
		clock.beat(time.Now(), time.Unix(0, body.Beat.UnixNanos))
		return gang.Beat{Node: node}
	case *gangpb.FromAgent_RankExit:
		e := body.RankExit
		return gang.Exited{Node: node, Attempt: attempt, Exit: gang.Exit{
			Rank: int(e.Rank), LocalRank: int(e.LocalRank), PID: int(e.Pid), Code: int(e.Code), Signal: syscall.Signal(e.Signal),
			At: clock.here(time.Unix(0, e.UnixNanos)), Message: e.Message, Victim: e.Victim, Killed: e.Killed, Frozen: e.Frozen, Tail: e.Tail,
		}}
	case *gangpb.FromAgent_Stopped:
		return gang.Stopped{Node: node, Attempt: attempt}
	case *gangpb.FromAgent_Saving:
		return gang.Saving{Node: node, Attempt: attempt}
	case *gangpb.FromAgent_Fault:
		return gang.Fault{Node: node, Code: int(body.Fault.Code), Why: body.Fault.Why}
	case *gangpb.FromAgent_Signal:
		return gang.Signal{Node: node, Number: syscall.Signal(body.Signal.Number)}
	}
	return nil
}

// fromWorld tells an agent which ranks to start; torchPort is of PyTorch's store at
// the coordinator, 0 if there is none.
func fromWorld(w gang.World, torchPort int) *gangpb.FromCoordinator {
	return &gangpb.FromCoordinator{Attempt: int32(w.Attempt), Body: &gangpb.FromCoordinator_World{World: &gangpb.World{
		WorldSize: int32(w.WorldSize), FirstRank: int32(w.FirstRank), GroupRank: int32(w.GroupRank), GroupWorldSize: int32(w.GroupWorldSize),
		TorchPort: int32(torchPort),
	}}}
}

// toWorld is the world of an agent that runs localWorldSize ranks.
func toWorld(attempt int32, m *gangpb.World, localWorldSize int) gang.World {
	return gang.World{
		Attempt: int(attempt), WorldSize: int(m.WorldSize), FirstRank: int(m.FirstRank), LocalWorldSize: localWorldSize,
		GroupRank: int(m.GroupRank), GroupWorldSize: int(m.GroupWorldSize),
	}
}

// fromAction is what the coordinator tells an agent to do, a Start apart.
func fromAction(a gang.Action) *gangpb.FromCoordinator {
	switch a := a.(type) {
	case gang.Stop:
		return &gangpb.FromCoordinator{Attempt: int32(a.Attempt), Body: &gangpb.FromCoordinator_Abort{Abort: &gangpb.Abort{
			Cause: a.Cause, Signal: int32(a.Signal), GraceNanos: int64(a.Grace), MaySave: a.MaySave,
		}}}
	case gang.Reject:
		return &gangpb.FromCoordinator{Body: &gangpb.FromCoordinator_Reject{Reject: &gangpb.Reject{Why: a.Why}}}
	case gang.Say:
		return &gangpb.FromCoordinator{Body: &gangpb.FromCoordinator_Notice{Notice: &gangpb.Notice{Text: a.Text}}}
	case gang.Finish:
		return &gangpb.FromCoordinator{Body: &gangpb.FromCoordinator_Bye{Bye: &gangpb.Bye{Code: int32(a.Code), Report: a.Report}}}
	}
	panic(fmt.Sprintf("agent: there is no message for %T", a))
}

// toAction is what the coordinator wants, nil for a World and for a sign of life.
func toAction(m *gangpb.FromCoordinator) gang.Action {
	switch body := m.Body.(type) {
	case *gangpb.FromCoordinator_Abort:
		return gang.Stop{
			Attempt: int(m.Attempt), Cause: body.Abort.Cause, Signal: syscall.Signal(body.Abort.Signal), Grace: time.Duration(body.Abort.GraceNanos), MaySave: body.Abort.MaySave,
		}
	case *gangpb.FromCoordinator_Reject:
		return gang.Reject{Why: body.Reject.Why}
	case *gangpb.FromCoordinator_Notice:
		return gang.Say{Text: body.Notice.Text}
	case *gangpb.FromCoordinator_Bye:
		return gang.Finish{Code: int(body.Bye.Code), Report: body.Bye.Report}
	}
	return nil
}
