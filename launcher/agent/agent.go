// SPDX-License-Identifier: Apache-2.0

// Package agent runs a job's ranks on the hosts it is given: one agent a host,
// each with a gRPC stream to the coordinator, which the agent of node 0 runs
// beside itself. The coordinator performs what package gang decides; an agent
// does what it is told with package workers. One host is the same with one agent.
//
// One port serves the job's members, agents and octet's ranks: each connection
// proves that it is one (package auth) and says which service it wants, before
// anything else. PyTorch's ranks cannot prove anything; where the program may be
// PyTorch's, they get a store on a port of its own, or by relay (StoreMode).
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"octet/internal/auth"
	"octet/launcher"
	"octet/launcher/gang"
	"octet/launcher/workers"
	"octet/proto/gangpb"
)

// Options says what an agent runs and where it finds the others.
type Options struct {
	RunID          string      // the same on all nodes
	Secret         auth.Secret // the same on all nodes
	Nodes          int
	NodeRank       int // -1: the coordinator chooses
	LocalWorldSize int // number of ranks on this host

	Addr        string // of the coordinator
	Port        int    // of the coordinator; 0: any, for one node
	Coordinator When
	Bind        string // address that the coordinator listens on; empty: Addr
	LocalAddr   string // how others reach this host; empty: where its connection comes from

	TLS       *TLS // nil: none
	Store     StoreMode
	StorePort int // of OpenStore; 0: any

	MaxRestarts     int
	Asked           []gang.Asked // what the operator asked for, to be the same on all nodes
	JoinTimeout     time.Duration
	BeatEvery       time.Duration // between signs of life of agents and coordinator
	BeatTimeout     time.Duration // without any, the other side is lost
	ShutdownTimeout time.Duration // between the operator's signal and SIGKILL

	// Check, where there is one, finds before a rank starts why the program cannot
	// run on world ranks. It is quick: the agent gives no sign of life meanwhile.
	Check func(world int) error

	Host *workers.Host
	// Job is what the ranks run. The agent fills in what it knows itself: RunID, Secret,
	// MaxRestarts, LocalAddr, and where ranks meet.
	Job     workers.Job
	Signals <-chan os.Signal // each is the operator's wish to stop
	Say     func(text string)
}

// When says whether this agent runs the coordinator.
type When int

// The choices. IfLocal is for jobs in which no node is told its rank: the agent
// that can listen on the address is the coordinator.
const (
	Never When = iota
	IfLocal
	Always
)

// RankSecret is what ranks of the job are given to know. It opens the store and
// the other ranks' connections to them, but not the coordinator.
func (o Options) RankSecret() auth.Secret { return o.Secret.For("ranks of " + o.RunID) }

// StoreMode is where ranks that speak PyTorch's TCPStore find their store.
type StoreMode int

// The choices.
const (
	NoStore    StoreMode = iota // nowhere: the program is octet's
	OpenStore                   // beside the coordinator: whoever reaches it is served
	RelayStore                  // on each host's loopback, relayed by the agents
)

// Times of the protocol.
const (
	sayEvery     = 5 * time.Second  // what an agent waits for
	startTimeout = 60 * time.Second // for all nodes to start their ranks
	failGrace    = 5 * time.Second  // between SIGTERM and SIGKILL when a rank failed
	lostGrace    = 3 * time.Second  // the same when the coordinator is lost, which took BeatTimeout to notice
	byeTimeout   = 2 * time.Second  // for agents to leave at the end
)

// protocolVersion changes with the messages or their meaning.
const protocolVersion = 2

// Run runs this host's part of the job and returns when nothing of it is left. An
// error means that it did not begin; failures of ranks and nodes are in how it ended.
func Run(ctx context.Context, o Options) (gang.Finish, error) {
	door, err := open(o)
	if err != nil {
		return gang.Finish{}, err
	}
	dialer := func(ctx context.Context) (net.Conn, error) { return dial(ctx, o) }
	if door != nil {
		o.Port = door.Addr().(*net.TCPAddr).Port
		c := startCoordinator(o, door)
		defer c.close()
		dialer = func(context.Context) (net.Conn, error) { return door.own(), nil }
	}
	conn, err := dialer(ctx)
	if sig, ok := errors.AsType[signalError](err); ok {
		return gang.Finish{Code: 128 + int(sig.Signal), Report: []string{sig.Error()}}, nil
	}
	if err != nil {
		return gang.Finish{}, err
	}
	client, err := newClient(conn)
	if err != nil {
		return gang.Finish{}, err
	}
	defer client.Close()
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := gangpb.NewGangClient(client).Join(streamCtx)
	if err != nil {
		return gang.Finish{}, notOctet(o.endpoint(), err)
	}
	a := &agent{Options: o, stream: stream, in: make(chan received, 1)}
	if o.Store == RelayStore {
		if a.relay, err = startRelay(func(ctx context.Context) (net.Conn, error) { return o.reach(ctx, serviceRelay) }); err != nil {
			return gang.Finish{}, err
		}
		defer a.relay.close()
	}
	go a.receive(streamCtx)
	return a.run(door != nil), nil
}

func (o Options) endpoint() string { return net.JoinHostPort(o.Addr, strconv.Itoa(o.Port)) }

// open opens the coordinator's ports, or none if this agent is not the one.
func open(o Options) (*door, error) {
	if o.Coordinator == Never {
		return nil, nil
	}
	bind := cmp.Or(o.Bind, o.Addr)
	ln, err := launcher.Listen(bind, o.Port)
	switch {
	case err != nil && o.Coordinator == IfLocal:
		// Only an address of this host can be listened on: no guess by names. In
		// use: another agent of this host was first, or dial will tell.
		return nil, nil
	case err != nil:
		return nil, err
	case o.Store != OpenStore:
		return newDoor(o, ln, nil), nil
	}
	torch, err := launcher.Listen(bind, o.StorePort)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store for PyTorch: %w", err), ln.Close())
	}
	return newDoor(o, ln, torch), nil
}

func notOctet(addr string, err error) error {
	return fmt.Errorf("what listens at %s is not an octet coordinator: %w", addr, err)
}
