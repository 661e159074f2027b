// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"octet/internal/auth"
)

// Client is a Store behind a TCPStore server. A call takes an idle connection or
// opens one, so a call that waits holds up no other. Make it with Dial.
type Client struct {
	addr    string
	connect func(ctx context.Context) (net.Conn, error)

	mu     sync.Mutex
	idle   []*clientConn
	open   map[*clientConn]bool
	closed bool
}

type clientConn struct {
	net.Conn
	r *bufio.Reader
}

var _ Store = (*Client)(nil)

// Dial connects to the server of a job's members at addr (host:port), as one of
// them. A server that is not there yet is tried again until ctx ends: ranks start
// in any order. One that knows another secret is an error at once.
func Dial(ctx context.Context, addr string, id auth.Identity) (*Client, error) {
	return dial(ctx, addr, func(ctx context.Context) (net.Conn, error) { return auth.Dial(ctx, addr, id) })
}

// DialAnyone is Dial for a TCPStore server, which serves anyone.
func DialAnyone(ctx context.Context, addr string) (*Client, error) {
	return dial(ctx, addr, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	})
}

func dial(ctx context.Context, addr string, connect func(context.Context) (net.Conn, error)) (*Client, error) {
	c := &Client{addr: addr, connect: connect, open: map[*clientConn]bool{}}
	start := time.Now()
	pause := 5 * time.Millisecond
	var last error
	for {
		conn, err := c.dial(ctx)
		if err == nil {
			c.release(conn)
			return c, nil
		}
		if errors.Is(err, auth.ErrProof) {
			return nil, fmt.Errorf("store: %s: %w", addr, err)
		}
		if last == nil || ctx.Err() == nil { // an attempt that ctx cuts off says less than the one before
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("store: no server at %s after %v: %w (last: %w)", addr, since(start), context.Cause(ctx), last)
		case <-time.After(pause):
			pause = min(2*pause, 500*time.Millisecond)
		}
	}
}

// dial opens a connection and makes sure that a TCPStore answers on it.
func (c *Client) dial(ctx context.Context) (*clientConn, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	cc := &clientConn{conn, bufio.NewReader(conn)}
	nonce := uint32(os.Getpid())
	hello := binary.LittleEndian.AppendUint32([]byte{opValidate}, validateMagic)
	hello = binary.LittleEndian.AppendUint32(append(hello, opPing), nonce)
	stop := interrupt(ctx, cc)
	defer stop()
	if _, err = conn.Write(hello); err == nil {
		var b []byte
		if b, err = cc.read(4); err == nil && binary.LittleEndian.Uint32(b) != nonce {
			err = fmt.Errorf("what listens there is not a TCPStore")
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return cc, nil
}

// interrupt makes reads and writes of cc fail when ctx ends. The function it
// returns undoes that.
func interrupt(ctx context.Context, cc *clientConn) func() bool {
	return context.AfterFunc(ctx, func() { cc.SetDeadline(time.Unix(1, 0)) })
}

// do sends req and hands the connection to answer, which reads the reply.
func (c *Client) do(ctx context.Context, req []byte, answer func(*clientConn) error) error {
	cc, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	stop := interrupt(ctx, cc)
	if _, err = cc.Write(req); err == nil && answer != nil {
		err = answer(cc)
	}
	if !stop() || err != nil {
		// The reply may still come: this connection answers no other request.
		c.discard(cc)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	}
	c.release(cc)
	return nil
}

func (c *Client) acquire(ctx context.Context) (*clientConn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	if n := len(c.idle); n > 0 {
		cc := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return cc, nil
	}
	c.mu.Unlock()
	cc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		cc.Close()
		return nil, net.ErrClosed
	}
	c.open[cc] = true
	return cc, nil
}

func (c *Client) release(cc *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		cc.Close()
		return
	}
	c.open[cc] = true
	c.idle = append(c.idle, cc)
}

func (c *Client) discard(cc *clientConn) {
	cc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, cc)
}

// Close closes all connections; calls that wait return an error.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for cc := range c.open {
		cc.Close()
	}
	c.open, c.idle = nil, nil
	return nil
}

// Set stores value under key. It returns when the request is sent: the server
// answers nothing.
func (c *Client) Set(ctx context.Context, key string, value []byte) error {
	if len(value) > maxValue {
		return fmt.Errorf("store: set %q: %d bytes, a value holds at most %d", key, len(value), maxValue)
	}
	req := appendString(appendKey([]byte{opSet}, key), value)
	return c.wrap("set", key, time.Now(), c.do(ctx, req, nil))
}

// Get returns the value of key, and waits for it until ctx ends.
func (c *Client) Get(ctx context.Context, key string) ([]byte, error) {
	start := time.Now()
	if err := c.wait(ctx, key); err != nil {
		return nil, c.wrap("get", key, start, err)
	}
	var value []byte
	err := c.do(ctx, appendKey([]byte{opGet}, key), func(cc *clientConn) error {
		n, err := cc.readU64()
		if err != nil {
			return err
		}
		if n > maxValue {
			return errTooLarge
		}
		value, err = cc.read(int(n))
		return err
	})
	return value, c.wrap("get", key, start, err)
}

// Add adds n to the counter at key and returns the sum.
func (c *Client) Add(ctx context.Context, key string, n int64) (int64, error) {
	var sum uint64
	req := binary.LittleEndian.AppendUint64(appendKey([]byte{opAdd}, key), uint64(n))
	err := c.do(ctx, req, func(cc *clientConn) (err error) {
		sum, err = cc.readU64()
		return err
	})
	return int64(sum), c.wrap("add to", key, time.Now(), err)
}

// Wait returns when all keys are present, or with an error when ctx ends.
func (c *Client) Wait(ctx context.Context, keys ...string) error {
	for _, key := range keys { // one by one, so that the error names the key
		start := time.Now()
		if err := c.wait(ctx, key); err != nil {
			return c.wrap("wait for", key, start, err)
		}
	}
	return nil
}

func (c *Client) wait(ctx context.Context, key string) error {
	req := binary.LittleEndian.AppendUint64([]byte{opWait}, 1)
	return c.do(ctx, appendKey(req, key), func(cc *clientConn) error {
		b, err := cc.read(1)
		if err == nil && b[0] != allPresent {
			err = fmt.Errorf("unexpected answer %d", b[0])
		}
		return err
	})
}

func (c *Client) wrap(verb, key string, start time.Time, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s %q at %s, %v: %w", verb, key, c.addr, since(start), err)
}

func (cc *clientConn) read(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(cc.r, b)
	return b, err
}

func (cc *clientConn) readU64() (uint64, error) {
	b, err := cc.read(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// appendKey appends key as it travels: PyTorch's client puts "/" before each, so
// a script and octet find each other's keys.
func appendKey(b []byte, key string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(key)+1))
	return append(append(b, '/'), key...)
}

func appendString(b, value []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(value))), value...)
}
