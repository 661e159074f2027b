// SPDX-License-Identifier: Apache-2.0

// Package local connects the goroutine ranks of one process. Use it in tests,
// and for a job of a single rank; comm/host connects processes.
//
//	comms := local.New(2, local.Options{Timeout: 10 * time.Second})
//	for rank, c := range comms {
//		go func() {
//			c.AllReduce(stream[rank], comm.T(grad[rank]), comm.Sum)
//			err := stream[rank].Sync()
//		}()
//	}
//
// Ranks read each other's memory directly: a collective copies nothing on the
// way.
package local

import (
	"context"
	"fmt"
	"sync"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
)

// Options of a job.
type Options struct {
	// Timeout is how long any wait may take; 0 is five minutes.
	Timeout time.Duration
}

// New makes the communicators of n ranks, in the order of their ranks. Each
// implements comm.Control.
func New(n int, o Options) []comm.Comm {
	comms := make([]comm.Comm, n)
	members := make([]int, n)
	for r := range members {
		members[r] = r
	}
	for r, p := range newWorld(n, o) {
		link, _ := p.Link(context.Background(), "world", members) // never fails
		comms[r] = group.New(p.control(), link)
	}
	return comms
}

// Control makes control groups of n ranks, in the order of their ranks.
func Control(n int, o Options) []comm.ControlGroup {
	groups := make([]comm.ControlGroup, n)
	for r, p := range newWorld(n, o) {
		groups[r] = p.control()
	}
	return groups
}

// world is what the ranks of one job share.
type world struct {
	job      *group.Job
	mu       sync.Mutex
	hubs     map[string]*hub
	meetings map[string]*meeting
	answers  []func() []byte // by rank
}

// newWorld makes the ports of n ranks.
func newWorld(n int, o Options) []*port {
	w := &world{job: group.NewJob(o.Timeout), hubs: map[string]*hub{}, meetings: map[string]*meeting{}, answers: make([]func() []byte, n)}
	ports := make([]*port, n)
	for r := range ports {
		ports[r] = &port{world: w, rank: r}
	}
	return ports
}

// meeting is one Exchange.
type meeting struct {
	values  [][]byte
	missing int
	all     chan struct{} // closed when all values are there
}

// port is one rank's place in the world.
type port struct {
	*world
	rank int
}

var _ group.Net = (*port)(nil)

func (p *port) control() *group.Control {
	return group.NewControl("world", p.rank, len(p.answers), p, p.job)
}

// Hosts implements group.Net: all ranks share memory, so none is on another host.
func (p *port) Hosts([]int) (here, across []int) { return nil, nil }

// RollCall implements group.Net: whoever could answer runs in this process.
func (p *port) RollCall([]int, time.Duration) (silent []int) { return nil }

// Answer implements group.Net.
func (p *port) Answer(with func() []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[p.rank] = with
}

// Ask implements group.Net.
func (p *port) Ask(ranks []int, _ time.Duration) [][]byte {
	all := make([][]byte, len(ranks))
	for i, r := range ranks {
		p.mu.Lock()
		with := p.answers[r]
		p.mu.Unlock()
		if with != nil {
			all[i] = with()
		}
	}
	return all
}

// Exchange implements group.Net.
func (p *port) Exchange(ctx context.Context, name string, members []int, value []byte) ([][]byte, error) {
	p.mu.Lock()
	m := p.meetings[name]
	if m == nil {
		m = &meeting{values: make([][]byte, len(members)), missing: len(members), all: make(chan struct{})}
		p.meetings[name] = m
	}
	m.values[index(members, p.rank)] = append([]byte{}, value...) // nil is nobody's
	if m.missing--; m.missing == 0 {
		delete(p.meetings, name)
		close(m.all)
	}
	p.mu.Unlock()
	select {
	case <-m.all:
		return m.values, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var late []int
	for i, v := range m.values {
		if v == nil {
			late = append(late, members[i])
		}
	}
	if len(late) == 0 {
		return m.values, nil
	}
	return nil, comm.Missing(late, fmt.Sprintf("not arrived after %v", p.job.Timeout()))
}

// Link implements group.Net.
func (p *port) Link(_ context.Context, name string, members []int) (group.Link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hubs[name]
	if h == nil {
		h = newHub(len(members))
		p.hubs[name] = h
	}
	if h.linked++; h.linked == len(members) {
		delete(p.hubs, name)
	}
	return &link{hub: h, members: members, me: index(members, p.rank), job: p.job}, nil
}

// Close implements group.Net: there is nothing to release.
func (p *port) Close() error { return nil }

func index(members []int, rank int) int {
	for i, m := range members {
		if m == rank {
			return i
		}
	}
	panic(fmt.Sprintf("comm/local: rank %d is not among %v", rank, members))
}
