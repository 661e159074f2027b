// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"octet/internal/datadriven"
)

// TestProtocol plays bytes to a server and compares its answers. In the scenario
// a token in quotes is a string (length and bytes), i64:n is a number, and
// anything else is hex. "closed" expects the server to close the connection.
func TestProtocol(t *testing.T) {
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		srv := NewServer()
		defer srv.Close()
		client, server := net.Pipe()
		srv.ServeConn(server)
		defer client.Close()
		var out strings.Builder
		for line := range strings.Lines(c.Input) {
			send, expect, _ := strings.Cut(strings.TrimSpace(line), " -> ")
			go client.Write(tokens(t, send))
			if expect == "closed" {
				rest, _ := io.ReadAll(client)
				fmt.Fprintf(&out, "closed after %d bytes\n", len(rest))
				break
			}
			var n int
			fmt.Sscan(expect, &n)
			b := make([]byte, n)
			if _, err := io.ReadFull(client, b); err != nil {
				fmt.Fprintln(&out, err)
				break
			}
			fmt.Fprintf(&out, "%x\n", b)
		}
		return out.String()
	})
}

func tokens(t *testing.T, text string) []byte {
	var b []byte
	for _, tok := range strings.Fields(text) {
		var n int64
		switch {
		case strings.HasPrefix(tok, `"`):
			b = appendString(b, []byte(strings.Trim(tok, `"`)))
		case strings.HasPrefix(tok, "i64:"):
			fmt.Sscan(tok[4:], &n)
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		default:
			raw, err := hex.DecodeString(tok)
			if err != nil {
				t.Fatalf("token %q: %v", tok, err)
			}
			b = append(b, raw...)
		}
	}
	return b
}

// FuzzServer feeds any bytes to a session: it must end with the input, without a
// panic and without memory that the input did not pay for.
func FuzzServer(f *testing.F) {
	f.Add([]byte{opPing, 1, 2, 3, 4})
	f.Add(appendString(appendString([]byte{opSet}, []byte("/k")), []byte("v")))
	f.Add(appendString([]byte{opGet}, []byte("/k")))
	f.Add(append(appendString(append([]byte{opWait}, 1, 0, 0, 0, 0, 0, 0, 0), []byte("/k")), opCancelWait))
	f.Add(appendString(appendString([]byte{opQueuePush}, []byte("/q")), []byte("v")))
	f.Add(append(appendString([]byte{opBarrier}, []byte("/b")), 2, 0, 0, 0, 0, 0, 0, 0))
	f.Add(append(appendString([]byte{opBarrier}, []byte("/b")), 1, 0, 0, 0, 0, 0, 0, 0, opListKeys))
	f.Add([]byte{opMultiSet, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, input []byte) {
		var out bytes.Buffer
		table := newTable()
		s := newSession(table, struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(input), &out})
		if err := s.serve(); err == nil {
			t.Fatal("a session ended without an error, not even EOF")
		}
		if len(table.waiting) > 0 {
			t.Fatalf("waiters are left: %v", table.waiting)
		}
		held := 0
		for k, v := range table.values {
			held += len(k) + len(v) + entryBytes
		}
		for k, q := range table.queues {
			for _, v := range q {
				held += len(k) + len(v) + entryBytes
			}
		}
		if got := maxStore - table.budget.left; got != held {
			t.Fatalf("%d bytes are taken for %d", got, held)
		}
	})
}
