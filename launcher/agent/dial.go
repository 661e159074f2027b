// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"octet/launcher/gang"
)

// signalError is the operator's signal while nothing runs yet.
type signalError struct{ syscall.Signal }

func (e signalError) Error() string { return "stopped by " + gang.SignalName(int(e.Signal)) }

func interrupted(sig syscall.Signal) Result {
	return Result{Code: 128 + int(sig), Report: []string{"stopped by " + gang.SignalName(int(sig))}}
}

// dial connects to the coordinator at addr, which may come up later than this agent, and
// says every few seconds why it is not connected yet.
func dial(ctx context.Context, o Options, addr string) (net.Conn, error) {
	start := time.Now()
	pause, say := 10*time.Millisecond, start.Add(beatTimeout)
	dialer := net.Dialer{Timeout: beatTimeout}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn, nil
		}
		waited := time.Since(start)
		text := fmt.Sprintf("no coordinator (node 0) at %s: %s, %v of %v",
			addr, explain(err), waited.Round(time.Second), o.JoinTimeout)
		if waited >= o.JoinTimeout || ctx.Err() != nil {
			return nil, errors.New(text)
		}
		if time.Now().After(say) {
			o.Say(text)
			say = time.Now().Add(beatTimeout)
		}
		select {
		case sig := <-o.Signals:
			return nil, signalError{sig.(syscall.Signal)}
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		}
	}
}

// explain tells apart what the operator can do something about.
func explain(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s is not known here (%s)", dns.Name, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: nothing listens there yet"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it from this host"
	}
	return err.Error()
}

// newClient makes a gRPC client of conn. It never connects again: a lost stream
// is a lost node.
func newClient(conn net.Conn) (*grpc.ClientConn, error) {
	var used atomic.Bool
	return grpc.NewClient("passthrough:///"+conn.RemoteAddr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errors.New("the connection was lost")
			}
			return conn, nil
		}))
}
