// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"io"
	"net"
	"sync"

	"octet/comm/store"
	"octet/internal/gate"
	"octet/launcher"
)

// relay serves PyTorch's ranks of this host on loopback: it carries what they say
// to the coordinator over connections that the agent has proven itself on, so
// that the store is nowhere open to the network.
type relay struct {
	gate *gate.Gate
	dial func(ctx context.Context) (net.Conn, error) // to the coordinator
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// relayHost is where ranks find a relay.
const relayHost = "127.0.0.1"

func startRelay(dial func(context.Context) (net.Conn, error)) (*relay, error) {
	ln, err := launcher.Listen(relayHost, 0)
	if err != nil {
		return nil, err
	}
	r := &relay{dial: dial}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.gate = gate.New(ln, func(conn net.Conn) (func(), error) {
		return func() { r.wg.Go(func() { r.carry(conn) }) }, store.Validate(conn)
	})
	return r, nil
}

func (r *relay) port() int { return r.gate.Addr().(*net.TCPAddr).Port }

// carry copies both ways until one of the connections ends or the relay does.
func (r *relay) carry(rank net.Conn) {
	defer rank.Close()
	up, err := r.dial(r.ctx)
	if err != nil {
		return // the rank sees the end of its connection
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { rank.Close(); up.Close() })()
	var back sync.WaitGroup
	back.Go(func() {
		defer cancel()
		_, _ = io.Copy(rank, up) // how a connection ended is for its ends to tell
	})
	_, _ = io.Copy(up, rank)
	cancel()
	back.Wait()
}

func (r *relay) close() {
	r.stop()
	r.gate.Close()
	r.wg.Wait()
}
