// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// The handshake, before anything else on a connection:
//
//	client  8 bytes "octet 1\n"; job and service, each 2 bytes of length (little
//	        endian) and the text; 32 random bytes, its nonce
//	server  1 byte: its verdict; if that is 0, 32 random bytes, its nonce
//	client  32 bytes: its proof
//	server  1 byte: its verdict; if that is 0, 32 bytes: its proof
//
// A proof is HMAC-SHA256, keyed with the secret, over the role ("client" or
// "server"), job, service and both nonces, each behind its length. The nonces
// make a replay useless, the roles a reflection; job and service keep a proof
// from being good for another. The client proves itself first, so a stranger
// learns nothing from a server but whether its job has that name.
const magic = "octet 1\n"

const (
	nonceSize = 32
	maxText   = 1024 // bytes of a job's or service's name
)

// Patience is how long a side waits for the handshake to end.
const Patience = 10 * time.Second

// Identity is what a connection is for.
type Identity struct {
	Job, Service string
	Secret       Secret
}

// Verdicts: what a server tells a client that it refuses, and the error of Accept.
var (
	ErrJob     = errors.New("it runs another job")
	ErrService = errors.New("it does not serve that")
	ErrProof   = errors.New("the tokens differ: give the same to all members of the job")
	ErrTLS     = errors.New("it speaks of that over TLS alone")
)

// ErrProtocol is an end that does not speak the handshake, or not to its end.
var ErrProtocol = errors.New("it does not speak octet's protocol")

func verdicts() []error { return []error{nil, ErrJob, ErrService, ErrProof, ErrTLS} }

// Finder gives the identity behind the names that a client sent, or one of the
// verdicts.
type Finder func(job, service string) (Identity, error)

// Only finds one identity.
func Only(id Identity) Finder {
	return func(job, service string) (Identity, error) {
		switch {
		case job != id.Job:
			return id, ErrJob
		case service != id.Service:
			return id, ErrService
		}
		return id, nil
	}
}

// Dial connects to addr and proves id there. A server that drops the connection
// without a verdict is under attack or just overrun: it is tried again, for as
// long as Patience and ctx allow.
func Dial(ctx context.Context, addr string, id Identity) (net.Conn, error) {
	return DialWith(ctx, new(net.Dialer), addr, id)
}

// DialWith is Dial with a dialer of the caller's: of an address of its own.
func DialWith(ctx context.Context, dialer *net.Dialer, addr string, id Identity) (net.Conn, error) {
	giveUp := time.Now().Add(Patience)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		if err = Client(ctx, conn, id); err == nil {
			return conn, nil
		}
		if !Dropped(err) || time.Now().Add(pause).After(giveUp) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// Dropped reports whether a handshake failed because the other end closed the
// connection without a verdict.
func Dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Client proves id on conn, and that the other end knows its secret too. On an
// error it closes conn.
func Client(ctx context.Context, conn net.Conn, id Identity) error {
	conn.SetDeadline(time.Now().Add(Patience))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := prove(conn, id)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return err
	}
	conn.SetDeadline(time.Time{})
	return nil
}

func prove(conn io.ReadWriter, id Identity) error {
	if id.Secret.IsZero() {
		return errors.New("auth: no secret to prove")
	}
	if len(id.Job) > maxText || len(id.Service) > maxText {
		return fmt.Errorf("auth: names of job and service: want at most %d bytes each", maxText)
	}
	mine := newNonce()
	hello := append([]byte(magic), appendText(appendText(nil, id.Job), id.Service)...)
	if _, err := conn.Write(append(hello, mine...)); err != nil {
		return err
	}
	theirs, err := readVerdict(conn)
	if err != nil {
		return err
	}
	if _, err := conn.Write(id.proof("client", mine, theirs)); err != nil {
		return err
	}
	proof, err := readVerdict(conn)
	if err != nil {
		return err
	}
	if !hmac.Equal(proof, id.proof("server", mine, theirs)) {
		return ErrProof
	}
	return nil
}

// readVerdict reads a verdict and the 32 bytes behind it.
func readVerdict(r io.Reader) ([]byte, error) {
	b := make([]byte, 1+nonceSize)
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	all := verdicts()
	if int(b[0]) >= len(all) {
		return nil, ErrProtocol
	}
	if err := all[b[0]]; err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, b[1:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return b[1:], nil
}

// Accept is the server's side on conn, whose deadline is the caller's to set. It
// reads not a byte beyond the handshake, and on an error leaves conn open.
func Accept(conn io.ReadWriter, find Finder) (Identity, error) {
	job, service, theirs, err := readHello(conn)
	if err != nil {
		return Identity{}, err
	}
	id, err := find(job, service)
	if err == nil && id.Secret.IsZero() {
		err = ErrService
	}
	if err != nil {
		return Identity{}, refuse(conn, err)
	}
	mine := newNonce()
	if _, err := conn.Write(append([]byte{0}, mine...)); err != nil {
		return Identity{}, err
	}
	proof := make([]byte, sha256.Size)
	if _, err := io.ReadFull(conn, proof); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	id.Job, id.Service = job, service
	if !hmac.Equal(proof, id.proof("client", theirs, mine)) {
		return Identity{}, refuse(conn, ErrProof)
	}
	if _, err := conn.Write(append([]byte{0}, id.proof("server", theirs, mine)...)); err != nil {
		return Identity{}, err
	}
	return id, nil
}

func readHello(r io.Reader) (job, service string, nonce []byte, err error) {
	field := func(n int) []byte {
		b := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(r, b)
		}
		return b
	}
	text := func() string {
		n := int(binary.LittleEndian.Uint16(field(2)))
		if err == nil && n > maxText {
			err = fmt.Errorf("a name of %d bytes", n)
		}
		if err != nil {
			return ""
		}
		return string(field(n))
	}
	// Byte by byte: whoever speaks another protocol is found at once, though it
	// may send less than 8 bytes and wait.
	for i := 0; i < len(magic) && err == nil; i++ {
		if b := field(1); err == nil && b[0] != magic[i] {
			err = errors.New("another protocol")
		}
	}
	job, service, nonce = text(), text(), field(nonceSize)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return job, service, nonce, err
}

// refuse sends the verdict and returns it.
func refuse(w io.Writer, verdict error) error {
	code := byte(2) // ErrService, for errors that are not the client's to know
	for i, v := range verdicts() {
		if v != nil && errors.Is(verdict, v) {
			code = byte(i)
		}
	}
	_, err := w.Write([]byte{code})
	return errors.Join(verdict, err)
}

func (id Identity) proof(role string, client, server []byte) []byte {
	mac := hmac.New(sha256.New, []byte(id.Secret.text))
	for _, field := range []string{role, id.Job, id.Service, string(client), string(server)} {
		mac.Write(appendText(nil, field))
	}
	return mac.Sum(nil)
}

// Tag is a value's seal under a name, as 32 bytes: proof that a member wrote it.
// It says nothing of when, so names must not be used twice.
func (id Identity) Tag(name string, value []byte) []byte {
	mac := hmac.New(sha256.New, []byte(id.Secret.For("values").text))
	for _, field := range []string{id.Job, id.Service, name} {
		mac.Write(appendText(nil, field))
	}
	mac.Write(value)
	return mac.Sum(nil)
}

func newNonce() []byte {
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(text))), text...)
}
