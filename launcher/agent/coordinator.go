// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"octet/internal/auth"
	"octet/launcher/gang"
	"octet/proto/gangpb"
)

// coordinator is the shell around a gang: it turns messages into events, performs
// the actions, and keeps the time.
type coordinator struct {
	gangpb.UnimplementedGangServer
	opts   Options
	door   *door
	server *grpc.Server
	events chan event
	cancel context.CancelFunc
	ctx    context.Context // of the loop
	wg     sync.WaitGroup

	// nodes is touched by the loop alone.
	nodes map[string]*node
	// joins counts the streams, to name each.
	joins atomic.Int64
}

// event is a gang's event and, for a Join, the node to answer.
type event struct {
	gang.Event
	join *node
}

// node is the stream of one agent.
type node struct {
	id  string
	out chan *gangpb.FromCoordinator // closed by the loop at the end
}

// outQueue is more messages than a gang has for a node at once; a node that lets
// so many pile up is lost.
const outQueue = 64

// Bounds of what an agent sends, in bytes: the largest message is a rank's last
// lines.
const (
	maxMessage = 1 << 20
	maxHeader  = 16 << 10
)

func startCoordinator(o Options, d *door) *coordinator {
	ctx, cancel := context.WithCancel(context.Background())
	c := &coordinator{
		opts: o, door: d,
		server: grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(1), grpc.MaxHeaderListSize(maxHeader)),
		events: make(chan event), ctx: ctx, cancel: cancel, nodes: map[string]*node{},
	}
	gangpb.RegisterGangServer(c.server, c)
	c.wg.Go(func() { _ = c.server.Serve(c.door) }) // ends with Stop
	c.wg.Go(c.loop)
	return c
}

// close lets the agents leave and releases everything.
func (c *coordinator) close() {
	leave := time.AfterFunc(byeTimeout, c.server.Stop)
	defer leave.Stop()
	c.cancel()
	c.server.GracefulStop()
	c.door.Close()
	c.wg.Wait()
}

// loop owns the gang.
func (c *coordinator) loop() {
	host, _ := os.Hostname()
	g := gang.New(gang.Config{
		Nodes: c.opts.Nodes, MaxRestarts: c.opts.MaxRestarts, Asked: c.opts.Asked, Host: host,
		JoinTimeout: c.opts.JoinTimeout, StartTimeout: startTimeout, BeatTimeout: c.opts.BeatTimeout,
		FailGrace: min(failGrace, c.opts.ShutdownTimeout), SignalGrace: c.opts.ShutdownTimeout,
	}, time.Now())
	beats := time.NewTicker(c.opts.BeatEvery)
	defer beats.Stop()
	stopped := pauses{c.opts.BeatEvery, time.Now()}
	deadline := time.NewTimer(0)
	defer deadline.Stop()
	for {
		ev := event{Event: gang.Tick{}}
		select {
		case ev = <-c.events:
		case <-deadline.C:
		case <-beats.C:
			c.broadcast(&gangpb.FromCoordinator{Body: &gangpb.FromCoordinator_Beat{Beat: &gangpb.Beat{}}})
		case <-c.ctx.Done():
			for _, n := range c.nodes {
				close(n.out)
			}
			return
		}
		if ev.join != nil {
			c.nodes[ev.join.id] = ev.join
		}
		now := time.Now()
		if d := stopped.at(now); d > 0 { // before the clock tells the gang who was silent
			c.step(g, now, gang.Paused{For: d})
		}
		c.step(g, now, ev.Event)
		if lost, ok := ev.Event.(gang.Lost); ok {
			c.drop(lost.Node)
		}
		if at := g.Deadline(); !at.IsZero() {
			deadline.Reset(time.Until(at))
		}
	}
}

// step gives the gang an event and performs what it answers.
func (c *coordinator) step(g *gang.Gang, now time.Time, ev gang.Event) {
	for _, a := range g.Step(now, ev) {
		switch a := a.(type) {
		case gang.Start:
			c.door.begin(a.Attempt)
			for node, w := range a.Worlds {
				c.send(node, fromWorld(w, c.door.torchPort()))
			}
		case gang.Reject:
			c.send(a.Node, fromAction(a))
			c.drop(a.Node)
		default:
			c.broadcast(fromAction(a))
		}
	}
}

func (c *coordinator) broadcast(msg *gangpb.FromCoordinator) {
	for id := range c.nodes {
		c.send(id, msg)
	}
}

func (c *coordinator) send(id string, msg *gangpb.FromCoordinator) {
	n := c.nodes[id]
	if n == nil {
		return
	}
	select {
	case n.out <- msg:
	default:
		c.drop(id)
	}
}

// drop ends the stream of a node.
func (c *coordinator) drop(id string) {
	if n := c.nodes[id]; n != nil {
		close(n.out)
		delete(c.nodes, id)
	}
}

// post hands an event to the loop; false means that the loop has ended.
func (c *coordinator) post(ev event) bool {
	select {
	case c.events <- ev:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// Join serves the stream of one agent.
func (c *coordinator) Join(stream grpc.BidiStreamingServer[gangpb.FromAgent, gangpb.FromCoordinator]) error {
	first, err := c.first(stream)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if why := c.refuse(first, hello); why != "" {
		return stream.Send(fromAction(gang.Reject{Why: why}))
	}
	// The coordinator names the nodes: no agent speaks for another.
	n := &node{id: fmt.Sprintf("%s#%d", hello.Host, c.joins.Add(1)), out: make(chan *gangpb.FromCoordinator, outQueue)}
	join := toJoin(n.id, hello)
	if p, ok := peer.FromContext(stream.Context()); ok {
		join.First = isOwn(p.Addr)
		if join.Addr == "" && join.First {
			join.Addr = c.opts.Addr
		} else if join.Addr == "" {
			join.Addr, _, _ = net.SplitHostPort(p.Addr.String())
		}
	}
	if !c.post(event{join, n}) {
		return nil
	}
	received := make(chan error, 1)
	go func() { received <- c.receive(n.id, stream) }() // ends with the stream
	for {
		select {
		case msg, ok := <-n.out:
			if !ok {
				c.post(event{gang.Lost{Node: n.id, Why: "it did not take its messages"}, nil})
				return nil
			}
			if err := stream.Send(msg); err != nil {
				c.post(event{gang.Lost{Node: n.id, Why: err.Error()}, nil})
				return err
			}
		case err := <-received:
			c.post(event{gang.Lost{Node: n.id, Why: "its connection ended"}, nil})
			return err
		}
	}
}

// first receives an agent's first message, for which nobody waits long.
func (c *coordinator) first(stream grpc.BidiStreamingServer[gangpb.FromAgent, gangpb.FromCoordinator]) (*gangpb.FromAgent, error) {
	type result struct {
		msg *gangpb.FromAgent
		err error
	}
	received := make(chan result, 1)
	go func() { // ends with the stream
		msg, err := stream.Recv()
		received <- result{msg, err}
	}()
	select {
	case r := <-received:
		return r.msg, r.err
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	case <-time.After(auth.Patience):
		return nil, fmt.Errorf("no hello in %v", auth.Patience)
	}
}

// refuse says why an agent does not belong here, or "".
func (c *coordinator) refuse(msg *gangpb.FromAgent, hello *gangpb.Hello) string {
	switch {
	case hello == nil:
		return "its first message is not a hello"
	case hello.Version != protocolVersion:
		return fmt.Sprintf("it speaks version %d of the protocol, the coordinator %d: install the same octet on all nodes", hello.Version, protocolVersion)
	case msg.RunId != c.opts.RunID:
		return "its messages are of another job"
	}
	return ""
}

// receive turns an agent's messages into events until the stream ends.
func (c *coordinator) receive(id string, stream grpc.BidiStreamingServer[gangpb.FromAgent, gangpb.FromCoordinator]) error {
	clock := clock{}
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if msg.RunId != c.opts.RunID {
			continue
		}
		if ev := toEvent(id, msg, &clock); ev != nil && !c.post(event{ev, nil}) {
			return nil
		}
	}
}

// clock converts times of an agent to the coordinator's clock. The difference of
// the two is at most what the quickest beat took to arrive.
type clock struct {
	offset time.Duration
	known  bool
}

func (c *clock) beat(here, there time.Time) {
	if d := here.Sub(there); !c.known || d < c.offset {
		c.offset, c.known = d, true
	}
}

func (c *clock) here(there time.Time) time.Time { return there.Add(c.offset) }
