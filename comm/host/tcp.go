// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"octet/internal/auth"
	"octet/internal/gate"
)

// listener accepts the connections of ranks of other hosts that prove the job's
// secret. Between two ranks the one of the higher number dials; the service that
// it names in the handshake (package auth) says for which group it is.
type listener struct {
	*gate.Gate
	address string // as others dial it

	mu      sync.Mutex
	arrived map[string]chan net.Conn // by service
}

func listen(address, job string, secret auth.Secret) (*listener, error) {
	if address == "" {
		address = outwardAddress()
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, fmt.Errorf("listening for other hosts at %q: %w", address, err)
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	l := &listener{address: net.JoinHostPort(address, port), arrived: map[string]chan net.Conn{}}
	find := func(itsJob, service string) (auth.Identity, error) {
		if !strings.HasPrefix(service, servicePrefix) {
			return auth.Identity{}, auth.ErrService
		}
		return auth.Only(auth.Identity{Job: job, Service: service, Secret: secret})(itsJob, service)
	}
	l.Gate = gate.New(ln, func(conn net.Conn) (func(), error) {
		id, err := auth.Accept(conn, find)
		return func() { l.hand(id.Service, conn) }, err
	})
	return l, nil
}

const servicePrefix = "data "

// service names the connection of a group that rank from makes to rank to.
func service(group string, from, to int) string {
	return fmt.Sprintf("%s%s %d>%d", servicePrefix, group, from, to)
}

// outwardAddress is the first address that others may reach, else loopback.
func outwardAddress() string {
	addrs, _ := net.InterfaceAddrs() // without any, loopback is right
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	return "127.0.0.1"
}

// hand gives a connection to the group that waits for it, or will.
func (l *listener) hand(service string, conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.place(service) <- conn:
	default: // a second connection for the same place is not one of ours
		conn.Close()
	}
}

// place is where the connection of a service is handed over. The caller holds mu.
func (l *listener) place(service string) chan net.Conn {
	c := l.arrived[service]
	if c == nil {
		c = make(chan net.Conn, 1)
		l.arrived[service] = c
	}
	return c
}

// take waits for the connection of a service.
func (l *listener) take(ctx context.Context, service string) (net.Conn, error) {
	l.mu.Lock()
	arrived := l.place(service)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.arrived, service)
	}()
	select {
	case conn := <-arrived:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) close() {
	l.Gate.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.arrived {
		select {
		case conn := <-c:
			conn.Close()
		default:
		}
	}
}

// connect makes the connection of a group with rank r of another host.
func (n *node) connect(ctx context.Context, name string, r int) (net.Conn, error) {
	if n.cfg.Rank < r {
		conn, err := n.tcp.take(ctx, service(name, r, n.cfg.Rank))
		if err != nil {
			return nil, fmt.Errorf("%s has not connected: %w", n.describe(r), err)
		}
		return conn, nil
	}
	var dialer net.Dialer
	if ip := net.ParseIP(n.cfg.Source); ip != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	conn, err := auth.DialWith(ctx, &dialer, n.peers[r].Address, auth.Identity{
		Job: n.cfg.RunID, Service: service(name, n.cfg.Rank, r), Secret: n.cfg.Secret,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.describe(r), err)
	}
	return conn, nil
}
