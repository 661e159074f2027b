// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"octet/internal/auth"
	"octet/launcher/agent"
	"octet/proto/gangpb"
)

// attacks is what strangers try: first without any knowledge of the token, then
// as somebody who has it and misbehaves.
func attacks(t *testing.T) []attack {
	secret, err := auth.ParseSecret(attackedToken)
	if err != nil {
		t.Fatal(err)
	}
	insider := auth.Identity{Job: "job", Service: "control", Secret: secret}
	with := func(f func(*auth.Identity)) auth.Identity {
		id := insider
		f(&id)
		return id
	}
	rank := auth.Identity{Job: "job/0", Service: "store", Secret: agent.Options{RunID: "job", Secret: secret}.RankSecret()}
	data := func(s auth.Secret) auth.Identity {
		return auth.Identity{Job: "job/0", Service: "data world 1>0", Secret: s}
	}
	const magic = "octet 1\n"
	text := func(s string) string {
		return string(binary.LittleEndian.AppendUint16(nil, uint16(len(s)))) + s
	}
	hello := magic + text("job") + text("control") + strings.Repeat("n", 32)
	proof := strings.Repeat("p", 32)
	all := []attack{
		{"nothing", true, sends()},
		{"one byte", true, sends([]byte("o"))},
		{"a beginning", true, sends([]byte(magic))},
		{"a name cut short", true, sends([]byte(magic + "\x40\x00job"))},
		{"a name of 65535 bytes", true, sends([]byte(magic+"\xff\xff"), make([]byte, 65535))},
		{"empty names", true, sends([]byte(magic + text("") + text("") + strings.Repeat("n", 32)))},
		{"a nonce cut short", true, sends([]byte(hello[:len(hello)-1]))},
		{"no proof", true, sends([]byte(hello))},
		{"any proof", true, sends([]byte(hello + proof))},
		{"a proof cut short", true, sends([]byte(hello + proof[:31]))},
		{"many hellos at once", true, sends(bytes.Repeat([]byte(hello+proof), 1000))},
		{"another version", true, sends([]byte("octet 9\n" + hello[8:] + proof))},
		{"the server's own nonce as a proof", false, reflects(hello)},
		{"a recorded handshake", false, replays(insider)},
		{"a recorded handshake of a rank", false, replays(rank)},
		{"a byte a moment", true, trickles(hello)},
		{"a reset in the middle", true, resets(hello[:20])},
		{"HTTP", true, sends([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))},
		{"HTTP/2", true, sends([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))},
		{"SSH", true, sends([]byte("SSH-2.0-OpenSSH_9.9\r\n"))},
		{"noise", true, sends(bytes.Repeat([]byte{0xa5, 0x5a, 0}, 20000))},
		{"TLS", true, speaksTLS},
		{"PyTorch's store: set", true, sends(torch(), []byte("\x01"+u64(2)+"/k"+u64(1)+"v"))},
		{"PyTorch's store: number of keys", true, sends(torch(), []byte{7})},
		{"PyTorch's store: list of keys", true, sends(torch(), []byte{0x11})},
		{"the old hello of the data plane", true, sends([]byte("\x1aABCDEFGHIJKLMNOPQRSTUVWXYZ\x01\x00\x00\x00\x05\x00world"))},
		{"a flood of silence", true, holds(300, "")},
		{"half-open handshakes", true, holds(50, hello[:len(hello)-1])},
		{"clients that do not read", true, holds(50, hello)},
		{"another token", false, claims(with(func(id *auth.Identity) { id.Secret = auth.NewSecret() }), auth.ErrProof)},
		{"no token", false, claims(with(func(id *auth.Identity) { id.Secret = auth.Public() }), auth.ErrProof)},
		{"the token of another job", false, claims(with(func(id *auth.Identity) { id.Job = "other" }), auth.ErrJob)},
		{"the token for an unknown service", false, claims(with(func(id *auth.Identity) { id.Service = "shell" }), auth.ErrService)},
		{"what ranks know, to be an agent", false, claims(with(func(id *auth.Identity) { id.Secret = rank.Secret }), auth.ErrProof)},
		{"a seat of another token", false, claims(data(auth.NewSecret()), auth.ErrService)}, // the coordinator has none, whatever the token
	}
	for name, msg := range messages() {
		all = append(all,
			attack{"gRPC without a handshake: " + name, true, says(nil, msg)},
			attack{"a member that has not said hello: " + name, false, says(&insider, msg)},
			attack{"a member of a complete gang, refused: " + name, false, says(&insider, anotherHello(), msg)})
	}
	if os.Getuid() == 0 { // another user can be tried
		all = append(all,
			attack{"a neighbour reads the environment", false, asNeighbour(`cat /proc/$1/environ 2>&-`)},
			attack{"a neighbour opens a descriptor", false, asNeighbour(`ls /proc/$1/fd/ 2>&-`)},
			attack{"a neighbour stops it", false, asNeighbour(`kill -TERM $1 2>&-`)})
	}
	return append(all, attack{"a look at all command lines", false, noSecretInArguments(secret, rank.Secret)})
}

// noSecretInArguments looks for secrets where every user of a host can see them.
func noSecretInArguments(secrets ...auth.Secret) func(*victim, string) error {
	return func(*victim, string) error {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, f := range files {
			line, _ := os.ReadFile(f) // that of a process that has ended is none
			for _, s := range secrets {
				if strings.Contains(string(line), strings.TrimPrefix(s.Environ(), auth.TokenVar+"=")) {
					return fmt.Errorf("a secret is in %s", f)
				}
			}
		}
		return nil
	}
}

// messages has one of each message of the protocol.
func messages() map[string]*gangpb.FromAgent {
	return map[string]*gangpb.FromAgent{
		"hello":           anotherHello(),
		"started":         {Body: &gangpb.FromAgent_Started{Started: &gangpb.Started{}}},
		"beat":            {Body: &gangpb.FromAgent_Beat{Beat: &gangpb.Beat{UnixNanos: -1}}},
		"rank exit":       {Body: &gangpb.FromAgent_RankExit{RankExit: &gangpb.RankExit{Rank: 1, Code: 1, Message: "your loss is NaN"}}},
		"stopped":         {Body: &gangpb.FromAgent_Stopped{Stopped: &gangpb.Stopped{}}},
		"fault":           {Body: &gangpb.FromAgent_Fault{Fault: &gangpb.Fault{Code: 1, Why: "no reason"}}},
		"signal":          {Body: &gangpb.FromAgent_Signal{Signal: &gangpb.Signal{Number: 15}}},
		"signal 0":        {Body: &gangpb.FromAgent_Signal{Signal: &gangpb.Signal{}}},
		"no body":         {},
		"another attempt": {Attempt: -1, Body: &gangpb.FromAgent_Signal{Signal: &gangpb.Signal{Number: 9}}},
	}
}

func anotherHello() *gangpb.FromAgent {
	return &gangpb.FromAgent{Body: &gangpb.FromAgent_Hello{Hello: &gangpb.Hello{Host: "stranger", NodeRank: 1, LocalWorldSize: -5, Version: 2}}}
}

// says joins as an agent and says what it is given; the stream must end without
// anything but a refusal.
func says(id *auth.Identity, msgs ...*gangpb.FromAgent) func(*victim, string) error {
	return func(_ *victim, addr string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		client, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				if id != nil {
					return auth.Dial(ctx, addr, *id)
				}
				return new(net.Dialer).DialContext(ctx, "tcp", addr)
			}))
		if err != nil {
			return err
		}
		defer client.Close()
		stream, err := gangpb.NewGangClient(client).Join(ctx)
		if err != nil {
			return nil
		}
		for _, m := range msgs {
			m.RunId = "job"
			stream.Send(m) // fails when the stream has ended
		}
		for {
			msg, err := stream.Recv()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errors.New("the stream was left open")
			}
			if err != nil {
				return nil
			}
			if msg.GetReject() == nil || strings.Contains(msg.String(), attackedToken) {
				return fmt.Errorf("it was told %v", msg)
			}
		}
	}
}

func timeoutContext() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	time.AfterFunc(6*time.Second, cancel)
	return ctx
}

// torch is how a TCPStore client begins.
func torch() []byte { return []byte("\x00\xce\xf7\x85\x3c") }

func u64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

// reflects sends back what the server challenges with.
func reflects(hello string) func(*victim, string) error {
	return func(_ *victim, addr string) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn, hello)
		challenge := make([]byte, 33)
		if _, err := io.ReadFull(conn, challenge); err != nil || challenge[0] != 0 {
			return fmt.Errorf("no challenge: % x, %w", challenge[:1], err)
		}
		conn.Write(challenge[1:])
		return onlyRefused(conn)
	}
}

// replays records the handshake of a member and plays it again.
func replays(id auth.Identity) func(*victim, string) error {
	return func(v *victim, addr string) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		tap := &tap{Conn: conn}
		if err := auth.Client(timeoutContext(), tap, id); err != nil {
			return fmt.Errorf("a member: %w", err)
		}
		conn.Close()
		return sends(tap.wrote)(v, addr)
	}
}

// tap records what is written.
type tap struct {
	net.Conn
	wrote []byte
}

func (t *tap) Write(b []byte) (int, error) {
	t.wrote = append(t.wrote, b...)
	return t.Conn.Write(b)
}

// trickles sends byte by byte and leaves off in the middle.
func trickles(text string) func(*victim, string) error {
	return func(v *victim, addr string) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		v.held = append(v.held, conn)
		for i := range 10 {
			io.WriteString(conn, text[i:i+1])
			time.Sleep(time.Millisecond)
		}
		return nil
	}
}

// resets ends the connection without a good-bye.
func resets(text string) func(*victim, string) error {
	return func(_ *victim, addr string) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		io.WriteString(conn, text)
		conn.(*net.TCPConn).SetLinger(0)
		return conn.Close()
	}
}

func speaksTLS(_ *victim, addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		return errors.New("it speaks TLS")
	}
	return nil
}
