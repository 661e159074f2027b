// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"octet/launcher/gang"
	"octet/launcher/workers"
	"octet/proto/gangpb"
)

// agent is the loop of one host. Only run touches its fields.
type agent struct {
	Options
	stream grpc.BidiStreamingClient[gangpb.FromAgent, gangpb.FromCoordinator]
	in     chan received

	heard    bool // anything from the coordinator
	attempt  int
	relay    *relay         // of PyTorch's store; nil: none
	group    *workers.Group // nil: nothing of ours runs
	exits    <-chan gang.Exit
	saving   <-chan struct{}
	done     <-chan struct{}
	aborting bool
}

type received struct {
	msg *gangpb.FromCoordinator
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
func (a *agent) run(first bool) gang.Finish {
	host, _ := os.Hostname()
	a.send(gang.Join{Host: host, Addr: a.LocalAddr, NodeRank: a.NodeRank, LocalWorldSize: a.LocalWorldSize, Asked: a.Asked})
	var beats, silent <-chan time.Time // none in the coordinator's own process
	silence := time.NewTimer(a.BeatTimeout)
	defer silence.Stop()
	coordinator := newVigil(time.Now(), a.BeatEvery, a.BeatTimeout)
	if !first {
		a.send(gang.Beat{})
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
				a.send(gang.Exited{Exit: e})
			} else {
				a.exits = nil
			}
		case <-a.saving:
			a.send(gang.Saving{})
		case <-a.done:
			a.finished()
		case sig := <-a.Signals:
			a.send(gang.Signal{Number: sig.(syscall.Signal)})
		case <-beats:
			a.send(gang.Beat{})
		case <-silent:
		}
		left := coordinator.left(time.Now())
		if left <= 0 && !first {
			return a.lost(fmt.Errorf("no sign of life for %v", a.BeatTimeout))
		}
		silence.Reset(left)
	}
}

// handle performs a message; a result ends the job.
func (a *agent) handle(msg *gangpb.FromCoordinator) *gang.Finish {
	if w := msg.GetWorld(); w != nil {
		a.start(toWorld(msg.Attempt, w, a.LocalWorldSize), int(w.TorchPort))
		return nil
	}
	switch do := toAction(msg).(type) {
	case gang.Stop:
		if do.Attempt != a.attempt {
			break
		}
		a.aborting = true
		if a.group == nil {
			a.send(gang.Stopped{})
			break
		}
		a.group.Stop(do.Signal, do.Grace, do.MaySave)
	case gang.Say:
		a.Say(do.Text)
	case gang.Reject:
		return &gang.Finish{Code: 1, Report: []string{fmt.Sprintf("the coordinator at %s refused this node: %s", a.endpoint(), do.Why)}}
	case gang.Finish:
		if do.Code == 0 {
			a.leave()
		} else {
			a.stop(syscall.SIGKILL, 0) // nothing, but for ranks that the coordinator gave up on
		}
		return &do
	}
	return nil
}

// start starts this host's ranks of an attempt.
func (a *agent) start(w gang.World, torchPort int) {
	a.attempt, a.aborting = w.Attempt, false
	if a.Check != nil {
		if err := a.Check(w.WorldSize); err != nil {
			a.send(gang.Fault{Code: 1, Why: err.Error()})
			return
		}
	}
	job := a.Job
	job.RunID, job.Secret, job.MaxRestarts, job.LocalAddr = a.RunID, a.RankSecret(), a.MaxRestarts, a.LocalAddr
	job.Store = a.endpoint()
	job.MasterAddr, job.MasterPort = a.master(torchPort)
	group, err := a.Host.Start(job, w)
	if err != nil {
		a.send(gang.Fault{Code: workers.ExitCode(err), Why: err.Error()})
		return
	}
	a.group, a.exits, a.saving, a.done = group, group.Exits(), group.Saving(), group.Done()
	a.send(gang.Started{})
}

// master is what this host's ranks get as MASTER_ADDR and MASTER_PORT: PyTorch's
// store, if there is one, else the coordinator, who answers no TCPStore client.
func (a *agent) master(torchPort int) (addr string, port int) {
	switch {
	case a.relay != nil:
		return relayHost, a.relay.port()
	case torchPort != 0:
		return a.Addr, torchPort
	}
	return a.Addr, a.Port
}

// finished follows the end of the last process of the group.
func (a *agent) finished() {
	for e := range a.group.Exits() { // those that run has not sent yet
		a.send(gang.Exited{Exit: e})
	}
	a.group, a.exits, a.saving, a.done = nil, nil, nil, nil
	if a.aborting {
		a.send(gang.Stopped{})
	}
}

// stop ends the ranks without the coordinator.
func (a *agent) stop(sig syscall.Signal, grace time.Duration) {
	if a.group == nil {
		return
	}
	a.group.Stop(sig, grace, false)
	<-a.group.Done()
	a.group = nil
}

// leave follows the good end of all ranks: what they have left may end by itself
// (see workers.Job.Linger), unless the operator does not want to wait.
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
			a.group.Stop(sig.(syscall.Signal), 0, false)
		}
	}
}

// lost follows the loss of the coordinator: without it the ranks must not go on.
func (a *agent) lost(err error) gang.Finish {
	if !a.heard {
		return gang.Finish{Code: 1, Report: []string{notOctet(a.endpoint(), err).Error()}}
	}
	ran := a.group != nil
	a.stop(syscall.SIGTERM, min(lostGrace, a.ShutdownTimeout))
	text := fmt.Sprintf("lost the coordinator at %s: %v", a.endpoint(), err)
	if ran {
		text += "; the ranks of this host were stopped"
	}
	return gang.Finish{Code: 1, Report: []string{text}}
}

// send tells the coordinator what has happened here. It ignores errors: those of the
// stream come out of Recv.
func (a *agent) send(ev gang.Event) {
	msg := fromEvent(ev)
	msg.RunId, msg.Attempt = a.RunID, int32(a.attempt)
	_ = a.stream.Send(msg)
}
