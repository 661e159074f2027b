// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"octet/launcher/exec"
	"octet/launcher/gang"
	"octet/proto"
)

// agent is the loop of one host. Only run touches its fields.
type agent struct {
	Options
	stream grpc.BidiStreamingClient[proto.FromAgent, proto.FromCoordinator]
	in     chan received

	heard    bool // anything from the coordinator
	epoch    int
	relay    *relay      // of PyTorch's store; nil: none
	group    *exec.Group // nil: nothing of ours runs
	exits    <-chan exec.Exit
	done     <-chan struct{}
	aborting bool
}

type received struct {
	msg *proto.FromCoordinator
	err error
}

func (a *agent) receive(ctx context.Context) {
	for {
		msg, err := a.stream.Recv()
		select {
		case a.in <- received{msg, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// run answers the coordinator until it says bye or is lost.
func (a *agent) run(first bool) Result {
	host, _ := os.Hostname()
	a.send(&proto.FromAgent{Body: &proto.FromAgent_Hello{Hello: &proto.Hello{
		Host: host, Addr: a.LocalAddr, NodeRank: int32(a.NodeRank), Slots: int32(a.Slots), Nodes: int32(a.Nodes), Version: protocolVersion,
		Asked: asked(a.Asked),
	}}})
	var beats, silent <-chan time.Time // none in the coordinator's own process
	silence := time.NewTimer(a.BeatTimeout)
	defer silence.Stop()
	coordinator := newVigil(time.Now(), a.BeatEvery, a.BeatTimeout)
	if !first {
		a.beat()
		ticker := time.NewTicker(a.BeatEvery)
		defer ticker.Stop()
		beats, silent = ticker.C, silence.C
	}
	for {
		select {
		case r := <-a.in:
			if r.err != nil {
				return a.lost(r.err)
			}
			a.heard = true
			coordinator.heard = time.Now()
			if result := a.handle(r.msg); result != nil {
				return *result
			}
		case e, ok := <-a.exits:
			if ok {
				a.sendExit(e)
			} else {
				a.exits = nil
			}
		case <-a.done:
			a.finished()
		case sig := <-a.Signals:
			n := sig.(syscall.Signal)
			a.send(&proto.FromAgent{Body: &proto.FromAgent_Signal{Signal: &proto.Signal{Number: int32(n)}}})
		case <-beats:
			a.beat()
		case <-silent:
		}
		left := coordinator.left(time.Now())
		if left <= 0 && !first {
			return a.lost(fmt.Errorf("no sign of life for %v", a.BeatTimeout))
		}
		silence.Reset(left)
	}
}

func asked(all []gang.Asked) []*proto.Asked {
	out := make([]*proto.Asked, len(all))
	for i, a := range all {
		out[i] = &proto.Asked{Key: a.Key, Value: a.Value}
	}
	return out
}

// handle performs a message; a result ends the job.
func (a *agent) handle(msg *proto.FromCoordinator) *Result {
	switch body := msg.Body.(type) {
	case *proto.FromCoordinator_World:
		a.start(int(msg.Epoch), body.World)
	case *proto.FromCoordinator_Abort:
		if int(msg.Epoch) != a.epoch {
			break
		}
		a.aborting = true
		if a.group == nil {
			a.sendStopped()
			break
		}
		a.group.Stop(syscall.Signal(body.Abort.Signal), time.Duration(body.Abort.GraceNanos))
	case *proto.FromCoordinator_Notice:
		a.Say(body.Notice.Text)
	case *proto.FromCoordinator_Reject:
		return &Result{Code: 1, Report: []string{fmt.Sprintf("the coordinator at %s refused this node: %s", a.endpoint(), body.Reject.Why)}}
	case *proto.FromCoordinator_Bye:
		if body.Bye.Code == 0 {
			a.leave()
		} else {
			a.stop(syscall.SIGKILL, 0) // nothing, but for ranks that the coordinator gave up on
		}
		return &Result{Code: int(body.Bye.Code), Report: body.Bye.Report}
	}
	return nil
}

// start starts this host's ranks of an attempt.
func (a *agent) start(epoch int, w *proto.World) {
	a.epoch, a.aborting = epoch, false
	if a.Check != nil {
		if err := a.Check(int(w.World)); err != nil {
			a.fault(1, err)
			return
		}
	}
	addr, port := a.master(w)
	group, err := a.Host.Start(a.Job, exec.World{
		Epoch: epoch, World: int(w.World), Base: int(w.Base), Local: a.Slots,
		Group: int(w.Group), Groups: int(w.Groups), Store: a.endpoint(), MasterAddr: addr, MasterPort: port,
	})
	if err != nil {
		a.fault(exec.ExitCode(err), err)
		return
	}
	a.group, a.exits, a.done = group, group.Exits(), group.Done()
	a.send(&proto.FromAgent{Body: &proto.FromAgent_Started{Started: &proto.Started{}}})
}

// fault says why the ranks of this host cannot run.
func (a *agent) fault(code int, err error) {
	a.send(&proto.FromAgent{Body: &proto.FromAgent_Fault{Fault: &proto.Fault{Code: int32(code), Why: err.Error()}}})
}

// master is what this host's ranks get as MASTER_ADDR and MASTER_PORT: PyTorch's
// store, if there is one, else the coordinator, who answers no TCPStore client.
func (a *agent) master(w *proto.World) (addr string, port int) {
	switch {
	case a.relay != nil:
		return relayHost, a.relay.port()
	case w.TorchPort != 0:
		return a.Addr, int(w.TorchPort)
	}
	return a.Addr, a.Port
}

// finished follows the end of the last process of the group.
func (a *agent) finished() {
	for e := range a.group.Exits() { // those that run has not sent yet
		a.sendExit(e)
	}
	a.group, a.exits, a.done = nil, nil, nil
	if a.aborting {
		a.sendStopped()
	}
}

// stop ends the ranks without the coordinator.
func (a *agent) stop(sig syscall.Signal, grace time.Duration) {
	if a.group == nil {
		return
	}
	a.group.Stop(sig, grace)
	<-a.group.Done()
	a.group = nil
}

// leave follows the good end of all ranks: what they have left may end by itself
// (see exec.Job.Linger), unless the operator does not want to wait.
func (a *agent) leave() {
	if a.group == nil {
		return
	}
	tell := time.After(time.Second)
	for {
		select {
		case <-a.group.Done():
			return
		case <-tell:
			a.Say(fmt.Sprintf("all ranks have exited 0; up to %v for processes that those of this host have left", a.Job.Linger))
		case sig := <-a.Signals:
			a.group.Stop(sig.(syscall.Signal), 0)
		}
	}
}

// lost follows the loss of the coordinator: without it the ranks must not go on.
func (a *agent) lost(err error) Result {
	if !a.heard {
		return Result{Code: 1, Report: []string{notOctet(a.endpoint(), err).Error()}}
	}
	ran := a.group != nil
	a.stop(syscall.SIGTERM, min(lostGrace, a.ShutdownTimeout))
	text := fmt.Sprintf("lost the coordinator at %s: %v", a.endpoint(), err)
	if ran {
		text += "; the ranks of this host were stopped"
	}
	return Result{Code: 1, Report: []string{text}}
}

// send ignores errors: those of the stream come out of Recv.
func (a *agent) send(msg *proto.FromAgent) {
	msg.RunId, msg.Epoch = a.RunID, int32(a.epoch)
	_ = a.stream.Send(msg)
}

func (a *agent) beat() {
	a.send(&proto.FromAgent{Body: &proto.FromAgent_Beat{Beat: &proto.Beat{UnixNanos: time.Now().UnixNano()}}})
}

func (a *agent) sendStopped() {
	a.send(&proto.FromAgent{Body: &proto.FromAgent_Stopped{Stopped: &proto.Stopped{}}})
}

func (a *agent) sendExit(e exec.Exit) {
	a.send(&proto.FromAgent{Body: &proto.FromAgent_RankExit{RankExit: &proto.RankExit{
		Rank: int32(e.Rank), Local: int32(e.Local), Pid: int32(e.PID), Code: int32(e.Code), Signal: int32(e.Signal),
		UnixNanos: e.At.UnixNano(), Message: e.Failure.Message, Victim: e.Failure.Victim,
		Killed: e.Killed, Frozen: e.Frozen, Tail: e.Tail,
	}}})
}
