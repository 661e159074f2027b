// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

var member = Identity{Job: "17/0", Service: "store", Secret: Secret{"correct horse battery staple"}}

// meet runs both sides on a pipe.
func meet(client, server Identity) (clientErr, serverErr error) {
	a, b := net.Pipe()
	defer b.Close()
	done := make(chan error)
	go func() { done <- Client(context.Background(), a, client) }()
	b.SetDeadline(time.Now().Add(Patience))
	_, serverErr = Accept(b, Only(server))
	if serverErr != nil {
		b.Close()
	}
	clientErr = <-done
	a.Close()
	return clientErr, serverErr
}

func TestBothSidesLearnWhetherTheyBelongTogether(t *testing.T) {
	with := func(f func(*Identity)) Identity {
		id := member
		f(&id)
		return id
	}
	for _, tt := range []struct {
		name   string
		client Identity
		want   error
	}{
		{"a member", member, nil},
		{"another secret", with(func(id *Identity) { id.Secret = NewSecret() }), ErrProof},
		{"the secret and more", with(func(id *Identity) { id.Secret.text += "x" }), ErrProof},
		{"no secret", with(func(id *Identity) { id.Secret = Secret{} }), io.EOF},
		{"the public secret", with(func(id *Identity) { id.Secret = Public() }), ErrProof},
		{"a secret derived for something else", with(func(id *Identity) { id.Secret = id.Secret.For("ranks") }), ErrProof},
		{"right secret, another job", with(func(id *Identity) { id.Job = "17/1" }), ErrJob},
		{"right secret, another service", with(func(id *Identity) { id.Service = "control" }), ErrService},
	} {
		clientErr, serverErr := meet(tt.client, member)
		if tt.name == "no secret" { // does not even begin
			if clientErr == nil || !errors.Is(serverErr, tt.want) {
				t.Errorf("%s: client %v, server %v", tt.name, clientErr, serverErr)
			}
			continue
		}
		if !errors.Is(clientErr, tt.want) || !errors.Is(serverErr, tt.want) {
			t.Errorf("%s: client %v, server %v, want %v", tt.name, clientErr, serverErr, tt.want)
		}
	}
}

func TestNoSecretServesNobody(t *testing.T) {
	client, server := member, member
	server.Secret = Secret{}
	if c, s := meet(client, server); !errors.Is(c, ErrService) || !errors.Is(s, ErrService) {
		t.Errorf("client %v, server %v", c, s)
	}
}

// TestAServerMustProveItselfToo: a client does not talk to whoever took the
// server's place, though he says that all is well.
func TestAServerMustProveItselfToo(t *testing.T) {
	a, b := net.Pipe()
	done := make(chan error)
	go func() { done <- Client(t.Context(), a, member) }()
	_, _, nonce, err := readHello(b)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(append([]byte{0}, nonce...)) // reflects the client's nonce
	proof := make([]byte, 32)
	if _, err := io.ReadFull(b, proof); err != nil {
		t.Fatal(err)
	}
	b.Write(append([]byte{0}, proof...)) // and its proof
	if err := <-done; !errors.Is(err, ErrProof) {
		t.Errorf("error %v, want %v", err, ErrProof)
	}
}

// recorder keeps what a side of a handshake writes.
type recorder struct {
	net.Conn
	wrote bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote.Write(b)
	return r.Conn.Write(b)
}

// handshake returns what a member writes in a handshake that succeeds.
func handshake(t testing.TB) []byte {
	a, b := net.Pipe()
	client := &recorder{Conn: a}
	done := make(chan error)
	go func() { done <- Client(context.Background(), client, member) }()
	if _, err := Accept(b, Only(member)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client.wrote.Bytes()
}

// play sends bytes to a server and returns its verdict.
func play(sent []byte) error {
	_, err := Accept(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(sent), io.Discard}, Only(member))
	return err
}

func TestAReplayIsRefused(t *testing.T) {
	if err := play(handshake(t)); !errors.Is(err, ErrProof) {
		t.Errorf("error %v, want %v", err, ErrProof)
	}
}

func TestAHandshakeCutShortIsRefused(t *testing.T) {
	whole := handshake(t)
	for n := range whole {
		if err := play(whole[:n]); !errors.Is(err, ErrProtocol) {
			t.Errorf("%d of %d bytes: error %v, want %v", n, len(whole), err, ErrProtocol)
		}
	}
}

func TestOtherProtocolsAreRefusedAtTheFirstByte(t *testing.T) {
	for _, text := range []string{"GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\x16\x03\x01", "\x00\xce\xf7\x85\x3c", "octet 2\n"} {
		r := bytes.NewReader([]byte(text))
		if _, _, _, err := readHello(r); !errors.Is(err, ErrProtocol) {
			t.Errorf("%q: error %v", text, err)
		}
		if text[0] != magic[0] && r.Len() != len(text)-1 {
			t.Errorf("%q: read %d bytes", text, len(text)-r.Len())
		}
	}
}

func TestAcceptReadsNothingBeyondTheHandshake(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		if Client(context.Background(), a, member) == nil {
			a.Write([]byte("more"))
		}
	}()
	if _, err := Accept(b, Only(member)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "more" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClientEndsWithItsContext(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { io.ReadFull(b, make([]byte, 8)); cancel() }()
	if err := Client(ctx, a, member); err == nil {
		t.Error("no error from a server that says nothing")
	}
}

// TestDialTriesAgain: a listener under attack drops connections unheard.
func TestDialTriesAgain(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for i := 0; ; i++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if i > 1 {
				Accept(conn, Only(member))
			}
			conn.Close()
		}
	}()
	conn, err := Dial(t.Context(), ln.Addr().String(), member)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// FuzzAccept sends anything to a server: only the one who knows the secret is let
// in, and what a client may claim is bounded. The input is what it sends; the
// server's nonce is new each time, so nothing recorded can be right.
func FuzzAccept(f *testing.F) {
	whole := handshake(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(slices.Concat(whole, whole))
	f.Add([]byte(magic + "\xff\xff"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if err := play(sent); err == nil {
			t.Fatalf("let in: %q", sent)
		}
	})
}

// FuzzProve answers a client with anything: it believes no server that does not
// know the secret.
func FuzzProve(f *testing.F) {
	f.Add(make([]byte, 66))
	f.Add([]byte{1})
	f.Add([]byte{255})
	f.Fuzz(func(t *testing.T, answers []byte) {
		if err := prove(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(answers), io.Discard}, member); err == nil {
			t.Fatalf("believed: %q", answers)
		}
	})
}
