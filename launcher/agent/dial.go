// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"octet/internal/auth"
	"octet/launcher/gang"
)

// signalError is the operator's signal while nothing runs yet.
type signalError struct{ syscall.Signal }

func (e signalError) Error() string { return "stopped by " + gang.SignalName(e.Signal) }

// reach makes one attempt to connect to the coordinator, for a service of its door.
func (o Options) reach(ctx context.Context, service string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: sayEvery}).DialContext(ctx, "tcp", o.endpoint())
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		secure := tls.Client(conn, o.TLS.Client)
		ctx, cancel := context.WithTimeout(ctx, auth.Patience)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			if auth.Dropped(err) {
				return nil, fmt.Errorf("TLS: %w: node 0 needs tls_cert and tls_key if another node has any tls_…", err)
			}
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	return conn, auth.Client(ctx, conn, auth.Identity{Job: o.RunID, Service: service, Secret: o.Secret})
}

// hopeless reports whether it makes no sense to try again: the coordinator has
// refused this agent, or is none.
func hopeless(err error) bool {
	if auth.Dropped(err) {
		return false // it has no time for us, or begins or ends
	}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	return badCertificate || alert || noTLS || slices.ContainsFunc(
		[]error{auth.ErrJob, auth.ErrService, auth.ErrProof, auth.ErrTLS, auth.ErrProtocol},
		func(verdict error) bool { return errors.Is(err, verdict) })
}

// dial connects to the coordinator, which may come up later than this agent, and
// says every few seconds why it is not connected yet.
func dial(ctx context.Context, o Options) (net.Conn, error) {
	addr := o.endpoint()
	start := time.Now()
	pause, say := 10*time.Millisecond, start.Add(sayEvery)
	for {
		conn, err := o.reach(ctx, serviceControl)
		if err == nil {
			return conn, nil
		}
		if hopeless(err) {
			return nil, fmt.Errorf("the coordinator at %s refused this node: %s", addr, explain(err))
		}
		waited := time.Since(start)
		text := fmt.Sprintf("no coordinator (node 0) at %s: %s, %v of %v",
			addr, explain(err), waited.Round(time.Second), o.JoinTimeout)
		if waited >= o.JoinTimeout || ctx.Err() != nil {
			return nil, errors.New(text)
		}
		if time.Now().After(say) {
			o.Say(text)
			say = time.Now().Add(sayEvery)
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
	case errors.Is(err, auth.ErrJob):
		return "it runs another job: give all nodes the same --rdzv-id"
	case errors.Is(err, auth.ErrTLS):
		return "it wants TLS: give all nodes --rdzv-conf tls_ca=FILE"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS: leave tls_… out of --rdzv-conf, or give node 0 tls_cert and tls_key"
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
