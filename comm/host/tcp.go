// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// listener accepts the connections of ranks of other hosts. Between two ranks
// the one of the higher number dials; a connection begins with a hello that
// says for which group it is:
//
//	1 byte and the job's token, 4 bytes rank, 2 bytes and the group's name
type listener struct {
	net.Listener
	address string // as others dial it
	token   string

	mu      sync.Mutex
	arrived map[string]chan net.Conn // by waitKey
	conns   map[net.Conn]bool        // whose hello has not come
	ended   sync.WaitGroup
	closed  bool
}

// helloTimeout is how long a stranger may take to say who it is.
const helloTimeout = 10 * time.Second

func listen(address, token string) (*listener, error) {
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
	l := &listener{
		Listener: ln, address: net.JoinHostPort(address, port), token: token,
		arrived: map[string]chan net.Conn{}, conns: map[net.Conn]bool{},
	}
	l.ended.Go(l.accept)
	return l, nil
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

func (l *listener) accept() {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			conn.Close()
			return
		}
		l.conns[conn] = true
		l.mu.Unlock()
		l.ended.Go(func() { l.greet(conn) })
	}
}

func (l *listener) greet(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(helloTimeout))
	key, err := l.readHello(conn)
	conn.SetDeadline(time.Time{})
	l.mu.Lock()
	delete(l.conns, conn)
	l.mu.Unlock()
	if err != nil {
		conn.Close()
		return
	}
	select {
	case l.waiting(key) <- conn:
	default: // a second connection for the same place is not one of ours
		conn.Close()
	}
}

func (l *listener) readHello(r io.Reader) (key string, err error) {
	field := func(n int) []byte {
		b := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(r, b)
		}
		return b
	}
	token := field(int(field(1)[0]))
	if err == nil && subtle.ConstantTimeCompare(token, []byte(l.token)) != 1 {
		return "", errors.New("wrong token")
	}
	rank := binary.LittleEndian.Uint32(field(4))
	name := field(int(binary.LittleEndian.Uint16(field(2))))
	return waitKey(string(name), int(rank)), err
}

func waitKey(name string, rank int) string { return fmt.Sprintf("%s/%d", name, rank) }

// waiting is where the connection of that key is handed over.
func (l *listener) waiting(key string) chan net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.arrived[key]
	if c == nil {
		c = make(chan net.Conn, 1)
		l.arrived[key] = c
	}
	return c
}

func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		c.Close()
	}
	l.mu.Unlock()
	l.Close()
	l.ended.Wait()
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
		select {
		case conn := <-n.tcp.waiting(waitKey(name, r)):
			return conn, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("%s has not connected: %w", n.describe(r), ctx.Err())
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", n.peers[r].Address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.describe(r), err)
	}
	token := n.peers[0].Token
	hello := append([]byte{byte(len(token))}, token...)
	hello = binary.LittleEndian.AppendUint32(hello, uint32(n.cfg.Rank))
	hello = binary.LittleEndian.AppendUint16(hello, uint16(len(name)))
	hello = append(hello, name...)
	if _, err := conn.Write(hello); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", n.describe(r), err), conn.Close())
	}
	return conn, nil
}
