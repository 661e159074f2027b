// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

func hello(token, name string, rank int) []byte {
	b := append([]byte{byte(len(token))}, token...)
	b = binary.LittleEndian.AppendUint32(b, uint32(rank))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

func TestHello(t *testing.T) {
	l := &listener{token: "secret"}
	for _, tt := range []struct {
		name, want string
		hello      []byte
	}{
		{"a member", "world/0.1/3", hello("secret", "world/0.1", 3)},
		{"another token", "", hello("secreT", "world/0.1", 3)},
		{"a longer token", "", hello("secret2", "world/0.1", 3)},
		{"cut short", "", hello("secret", "world/0.1", 3)[:15]},
		{"another protocol", "", []byte("GET / HTTP/1.1\r\n\r\n")},
	} {
		key, err := l.readHello(bytes.NewReader(tt.hello))
		if (err == nil) != (tt.want != "") || err == nil && key != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, key, err, tt.want)
		}
	}
}

// TestStrangersAreRefused: a connection that does not know the token is
// closed, and does no harm to the one that is waited for.
func TestStrangersAreRefused(t *testing.T) {
	l, err := listen("127.0.0.1", "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	dial := func(b []byte) net.Conn {
		c, err := net.Dial("tcp", l.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		return c
	}
	stranger := dial(hello("wrong", "world", 1))
	defer stranger.Close()
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("the stranger was answered")
	}
	silent := dial(nil) // is closed with the listener
	defer silent.Close()
	member := dial(hello("secret", "world", 1))
	defer member.Close()
	conn := <-l.waiting(waitKey("world", 1))
	defer conn.Close()
	go member.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func FuzzHello(f *testing.F) {
	l := &listener{token: "secret"}
	f.Add(hello("secret", "world", 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := l.readHello(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, hello("secret", "", 0)[:7]) {
			t.Errorf("%q was let in as %q", b, key)
		}
	})
}
