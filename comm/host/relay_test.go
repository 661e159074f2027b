// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"octet/comm/host"
)

// farAway is a store that tells each rank, of all ranks of other hosts, the address
// of a relay, which counts what is sent to the host of each rank, and takes its time.
type farAway struct {
	host.Store
	t      *testing.T
	delay  time.Duration // one way
	rate   float64       // bytes a second either way; 0: without limit
	hostOf func(rank int) int
	sent   [2]atomic.Int64 // to host 0, to host 1
	pipes  [2]sync.Mutex   // of the link, either way
	free   [2]time.Time    // when the link has sent what it was given
	from   sync.Map        // addresses of hosts that were connected from
}

// Set puts a relay in the way to the address that a rank tells.
func (f *farAway) Set(ctx context.Context, key string, value []byte) error {
	if strings.Contains(key, "/address/") && !strings.Contains(key, "/all/") {
		var peer map[string]any
		if err := json.Unmarshal(value, &peer); err != nil {
			return err
		}
		var rank int
		if err := json.Unmarshal([]byte(key[strings.LastIndex(key, "/")+1:]), &rank); err != nil {
			return err
		}
		peer["Address"] = f.relay(peer["Address"].(string), f.hostOf(rank))
		var err error
		if value, err = json.Marshal(peer); err != nil {
			return err
		}
	}
	return f.Store.Set(ctx, key, value)
}

// relay listens, and passes what comes on to addr, which is of a host.
func (f *farAway) relay(addr string, to int) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Error(err)
		return addr
	}
	f.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			here, err := ln.Accept()
			if err != nil {
				return
			}
			ip, _, _ := net.SplitHostPort(here.RemoteAddr().String())
			f.from.Store(ip, true)
			there, err := net.Dial("tcp", addr)
			if err != nil {
				here.Close()
				continue
			}
			go f.pass(there, here, to)
			go f.pass(here, there, 1-to)
		}
	}()
	return ln.Addr().String()
}

// pass copies from src to dst as a long way does: the link sends what it is given
// one after the other at its rate, and all arrives a delay later.
func (f *farAway) pass(dst, src net.Conn, to int) {
	defer dst.Close()
	type packet struct {
		data []byte
		due  time.Time
	}
	packets := make(chan packet, 1<<16) // more than is ever on the way
	go func() {
		defer close(packets)
		for {
			b := make([]byte, 64<<10)
			n, err := src.Read(b)
			f.sent[to].Add(int64(n))
			packets <- packet{b[:n], f.depart(to, n).Add(f.delay)}
			if err != nil {
				return
			}
		}
	}()
	for p := range packets {
		time.Sleep(time.Until(p.due))
		if _, err := dst.Write(p.data); err != nil {
			break
		}
	}
	_, _ = io.Copy(io.Discard, src)
}

// depart is when the link has sent n more bytes.
func (f *farAway) depart(to, n int) time.Time {
	f.pipes[to].Lock()
	defer f.pipes[to].Unlock()
	now := time.Now()
	if f.free[to].Before(now) {
		f.free[to] = now
	}
	if f.rate > 0 {
		f.free[to] = f.free[to].Add(time.Duration(float64(n) / f.rate * float64(time.Second)))
	}
	return f.free[to]
}
