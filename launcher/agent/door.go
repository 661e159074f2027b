// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"octet/comm/store"
	"octet/internal/auth"
	"octet/internal/gate"
	"octet/launcher"
)

// Services of the coordinator's port, as clients name them in the handshake of
// package auth. The first two are the agents', who know the job's secret; ranks
// know one of their own, and the attempt is part of the job's name to them, so
// that no rank of an earlier attempt comes in.
const (
	serviceControl = "control"  // gRPC
	serviceRelay   = "tcpstore" // a PyTorch client's connection, relayed by the agent of its host
)

// door lets agents and ranks in, each to its service, and nobody else. It is the
// net.Listener of the gRPC server.
type door struct {
	opts    Options
	gate    *gate.Gate
	torch   *gate.Gate // for PyTorch's clients, who have no handshake; nil: none
	control chan net.Conn
	closing sync.Once
	closed  chan struct{}

	mu      sync.Mutex
	attempt int
	// stores of the current attempt, nil between attempts: of octet's ranks and of
	// PyTorch's.
	members, others *store.Server
}

func newDoor(o Options, ln, torch net.Listener) *door {
	d := &door{opts: o, control: make(chan net.Conn), closed: make(chan struct{})}
	d.gate = gate.New(ln, d.greet)
	if torch != nil {
		d.torch = gate.New(torch, func(conn net.Conn) (func(), error) {
			return func() { d.serveOthers(conn) }, store.Validate(conn)
		})
	}
	return d
}

// greet finds out what a connection is for and whether it may be.
func (d *door) greet(conn net.Conn) (func(), error) {
	conn, secure, err := d.secure(conn)
	if err != nil {
		return nil, err
	}
	id, err := auth.Accept(conn, func(job, service string) (auth.Identity, error) { return d.find(job, service, secure) })
	if err != nil {
		return nil, err
	}
	switch id.Service {
	case serviceControl:
		return func() { d.hand(conn) }, nil
	case serviceRelay:
		return func() { d.serveOthers(conn) }, nil
	}
	return func() { d.serveMember(conn, id.Job) }, nil
}

// secure begins TLS on a connection whose client does.
func (d *door) secure(conn net.Conn) (c net.Conn, secure bool, err error) {
	if d.opts.TLS == nil {
		return conn, false, nil
	}
	peeked := &peekedConn{conn, bufio.NewReaderSize(conn, 16)}
	first, err := peeked.r.Peek(1)
	if err != nil || first[0] != tlsHandshake {
		return peeked, false, err
	}
	return tls.Server(peeked, d.opts.TLS.Server), true, nil
}

// tlsHandshake is the first byte of a TLS connection: the record's type.
const tlsHandshake = 22

// peekedConn is a connection whose beginning was looked at.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func (d *door) find(job, service string, secure bool) (auth.Identity, error) {
	if service == store.Service {
		d.mu.Lock()
		defer d.mu.Unlock()
		return auth.Only(auth.Identity{Job: d.job(), Service: service, Secret: d.opts.RankSecret()})(job, service)
	}
	if service != serviceControl && service != serviceRelay {
		return auth.Identity{}, auth.ErrService
	}
	if d.opts.TLS != nil && !secure {
		return auth.Identity{}, auth.ErrTLS
	}
	return auth.Only(auth.Identity{Job: d.opts.RunID, Service: service, Secret: d.opts.Secret})(job, service)
}

// job is the job's name to ranks of this attempt. The caller holds mu.
func (d *door) job() string { return launcher.Place{RunID: d.opts.RunID, Attempt: d.attempt}.Job() }

func (d *door) serveMember(conn net.Conn, job string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.members == nil || job != d.job() {
		conn.Close()
		return
	}
	d.members.ServeConn(conn)
}

func (d *door) serveOthers(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.others == nil {
		conn.Close()
		return
	}
	d.others.ServeConn(conn)
}

// hand gives the gRPC server a connection.
func (d *door) hand(conn net.Conn) {
	select {
	case d.control <- conn:
	case <-d.closed:
		conn.Close()
	}
}

// begin begins an attempt with empty stores, and ends the old ones.
func (d *door) begin(attempt int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
	d.attempt, d.members = attempt, store.NewServer()
	if d.opts.Store != NoStore {
		d.others = store.NewServer()
	}
}

// end ends the stores. The caller holds mu.
func (d *door) end() {
	for _, s := range []**store.Server{&d.members, &d.others} {
		if *s != nil {
			(*s).Close()
			*s = nil
		}
	}
}

// torchPort is where PyTorch's clients are served, 0 if nowhere.
func (d *door) torchPort() int {
	if d.torch == nil {
		return 0
	}
	return d.torch.Addr().(*net.TCPAddr).Port
}

// Accept returns the next connection of an agent.
func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.control:
		return conn, nil
	case <-d.closed:
		return nil, fmt.Errorf("agent: %w", net.ErrClosed)
	}
}

// Addr is the coordinator's address.
func (d *door) Addr() net.Addr { return d.gate.Addr() }

// Close ends the listeners and the stores. gRPC calls it too.
func (d *door) Close() (err error) {
	d.closing.Do(func() {
		close(d.closed)
		err = d.gate.Close()
		if d.torch != nil {
			err = errors.Join(err, d.torch.Close())
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.end()
	})
	return err
}

// own is the connection of the coordinator's own agent: it needs no port, and
// nobody else can have it.
func (d *door) own() net.Conn {
	client, server := net.Pipe()
	go d.hand(server)
	return client
}

// isOwn reports whether an agent's address is that of own.
func isOwn(addr net.Addr) bool { return addr.Network() == "pipe" }
