// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/comm/store"
	"octet/internal/auth"
	"octet/internal/datadriven"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFromEnv(t *testing.T) {
	datadriven.Run(t, "testdata/place.txt", func(t *testing.T, c *datadriven.Case) string {
		if c.Cmd == "first-host" {
			var out []string
			for _, list := range c.Args {
				out = append(out, firstHost(list))
			}
			return strings.Join(out, "\n")
		}
		env := map[string]string{}
		for line := range strings.Lines(c.Input) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			env[k] = v
		}
		p, err := FromEnv(func(k string) string { return env[k] })
		if err != nil {
			return err.Error()
		}
		s := fmt.Sprintf("rank %d of %d, local %d of %d, host %d of %d, from %s",
			p.Rank, p.WorldSize, p.LocalRank, p.LocalWorldSize, p.GroupRank, p.GroupWorldSize, p.Source)
		if p.WorldSize > 1 {
			s += fmt.Sprintf(", store %s of %s", p.Endpoint(), map[bool]string{true: "the agent", false: "rank 0"}[p.AgentStore])
		}
		if p.RunID != "" {
			s += fmt.Sprintf(", run %s attempt %d", p.RunID, p.Attempt)
		}
		return s
	})
}

func TestHostAddress(t *testing.T) {
	for _, loopback := range []string{"localhost", "127.0.0.1", "127.0.0.2"} {
		if got := (Place{MasterAddr: loopback, MasterPort: 29500}).HostAddress(); got != loopback {
			t.Errorf("a store on loopback at %s: %q, want the same", loopback, got)
		}
	}
	if got := (Place{MasterAddr: "localhost", MasterPort: 29500, LocalAddr: "10.1.2.3"}).HostAddress(); got != "10.1.2.3" {
		t.Errorf("with --local-addr: %q", got)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() {
			if got := (Place{MasterAddr: ip.String(), MasterPort: 29500}).HostAddress(); got != ip.String() {
				t.Errorf("the store is on this host at %s: %q, want the same", ip, got)
			}
			relayed := Place{MasterAddr: "127.0.0.1", MasterPort: 29500, Store: net.JoinHostPort(ip.String(), "29500")}
			if got := relayed.HostAddress(); got != ip.String() {
				t.Errorf("PyTorch's store is on loopback, octet's at %s: %q, want the latter", ip, got)
			}
		}
	}
}

func freePort(t *testing.T) int {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestOpenStoreOfRank0(t *testing.T) {
	port := freePort(t)
	var ranks, met sync.WaitGroup
	met.Add(2)
	for rank := range 2 {
		ranks.Go(func() {
			p := Place{Rank: rank, WorldSize: 2, MasterAddr: "localhost", MasterPort: port, Secret: auth.Public()}
			st, done, err := OpenStore(t.Context(), p)
			if err == nil {
				err = st.Set(t.Context(), fmt.Sprint(rank), nil)
			}
			if err == nil {
				_, err = st.Get(t.Context(), fmt.Sprint(1-rank))
			}
			met.Done()
			met.Wait() // rank 0 takes the server along
			if err != nil {
				t.Errorf("rank %d: %v", rank, err)
				return
			}
			if err := done(); err != nil {
				t.Errorf("rank %d: %v", rank, err)
			}
		})
	}
	ranks.Wait()
}

func TestOpenStoreAlone(t *testing.T) {
	st, done, err := OpenStore(t.Context(), Place{WorldSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := st.Set(t.Context(), "k", []byte("v")); err != nil {
		t.Error(err)
	}
	if v, err := st.Get(t.Context(), "k"); string(v) != "v" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}

func TestOpenStoreWithoutServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err := OpenStore(ctx, Place{Rank: 1, WorldSize: 2, MasterAddr: "localhost", MasterPort: freePort(t), Secret: auth.Public()})
	if err == nil || !strings.Contains(err.Error(), "rank 1 of 2: store: no server at localhost:") {
		t.Errorf("got %v", err)
	}
}

func TestOpenStoreWantsAToken(t *testing.T) {
	_, _, err := OpenStore(t.Context(), Place{Rank: 1, WorldSize: 2, MasterAddr: "localhost", MasterPort: freePort(t)})
	if err == nil || !strings.Contains(err.Error(), "rank 1 of 2: OCTET_JOB_TOKEN is not set") {
		t.Errorf("got %v", err)
	}
}

// TestOpenStoreUnderTorchrun: torchrun's store serves anyone, and ranks believe
// in it only one another.
func TestOpenStoreUnderTorchrun(t *testing.T) {
	ln, err := Listen("localhost", 0)
	if err != nil {
		t.Fatal(err)
	}
	srv := store.ServeAnyone(ln)
	defer srv.Close()
	p := Place{WorldSize: 2, MasterAddr: "localhost", MasterPort: ln.Addr().(*net.TCPAddr).Port, AgentStore: true, RunID: "job", Secret: auth.NewSecret()}
	st, done, err := OpenStore(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	p.Rank = 1
	other, doneOther, err := OpenStore(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer doneOther()
	stranger, err := store.DialAnyone(t.Context(), p.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := errors.Join(st.Set(t.Context(), "address/0", []byte("10.0.0.1")), stranger.Set(t.Context(), "address/1", []byte("10.0.0.66"))); err != nil {
		t.Fatal(err)
	}
	if v, err := other.Get(t.Context(), "address/0"); err != nil || string(v) != "10.0.0.1" {
		t.Errorf("a member's value: %q, %v", v, err)
	}
	if v, err := other.Get(t.Context(), "address/1"); err == nil {
		t.Errorf("a stranger's value: %q", v)
	}
}

// TestListenBindsToTheAddressOnly: nothing listens where nobody asked for it.
func TestListenBindsToTheAddressOnly(t *testing.T) {
	for _, tt := range []struct{ host, want string }{
		{"127.0.0.1", "127.0.0.1"}, {"127.0.0.2", "127.0.0.2"}, {"localhost", "127.0.0.1"},
	} {
		ln, err := Listen(tt.host, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := ln.Addr().(*net.TCPAddr).IP.String(); got != tt.want {
			t.Errorf("%s: listens on %s, want %s", tt.host, got, tt.want)
		}
		ln.Close()
	}
	if _, err := Listen("203.0.113.77", 0); err == nil || !strings.Contains(err.Error(), "203.0.113.77 is not an address of this host") {
		t.Errorf("an address of nobody: %v", err)
	}
}

func TestPortInUseNamesHolder(t *testing.T) {
	ln, err := Listen("localhost", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	_, err = Listen("localhost", port)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{fmt.Sprintf("port %d is in use by pid %d", port, os.Getpid()), filepath.Base(os.Args[0])} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not contain %q: %v", part, err)
		}
	}
}

func TestErrorFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0", "error.json")
	t.Setenv(errorFileVar, path)
	cause := errors.New("lost rank 1")
	for _, tt := range []struct {
		err  error
		want Failure
	}{
		{cause, Failure{Message: "lost rank 1"}},
		{fmt.Errorf("step 3: %w", Victim(cause)), Failure{Message: "step 3: lost rank 1", Victim: true}},
	} {
		before := time.Now().Truncate(time.Second)
		if err := WriteErrorFile(tt.err); err != nil {
			t.Fatal(err)
		}
		got := ReadErrorFile(path)
		if got.At.Before(before) || got.At.After(time.Now()) {
			t.Errorf("written at %v, not after %v", got.At, before)
		}
		if got.At = (time.Time{}); got != tt.want {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
	t.Setenv(errorFileVar, "")
	if err := WriteErrorFile(cause); err != nil {
		t.Errorf("without the variable: %v", err)
	}
}

// The file system tells when an error file was written, unless the timestamp in it
// contradicts.
func TestErrorFileTime(t *testing.T) {
	second := time.Unix(1700000000, 0)
	for _, tt := range []struct {
		name, stamp    string
		modified, want time.Time
	}{
		{"within the second", "1700000000", second.Add(300 * time.Millisecond), second.Add(300 * time.Millisecond)},
		{"no timestamp", "", second.Add(time.Hour), second.Add(time.Hour)},
		{"a file server whose clock is fast", "1700000000", second.Add(time.Minute), second},
		{"or slow", "1700000000", second.Add(-time.Second), second},
	} {
		path := filepath.Join(t.TempDir(), "error.json")
		text := `{"message": {"message": "m", "extraInfo": {"timestamp": "` + tt.stamp + `"}}}`
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, tt.modified, tt.modified); err != nil {
			t.Fatal(err)
		}
		if got := ReadErrorFile(path).At; !got.Equal(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestReadErrorFile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"torch's record", `{"message": {"message": "ValueError: x", "extraInfo": {"py_callstack": "Traceback", "timestamp": "1700000000"}}}`, "ValueError: x"},
		{"numeric timestamp", `{"message": {"message": "m", "extraInfo": {"timestamp": "17", "more": {}}, "errorCode": 1}}`, "m"},
		{"plain string", `{"message": "plain", "timestamp": 17}`, "plain"},
		{"half a file", `{"message": {"mess`, ""},
		{"something else", `[1, 2]`, ""},
	} {
		path := filepath.Join(t.TempDir(), "error.json")
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := ReadErrorFile(path).Message; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
