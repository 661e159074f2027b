// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"octet/comm/store"
	"octet/internal/auth"
	"octet/launcher"
)

// openDoor opens the ports of a coordinator that begins its first attempt.
func openDoor(t *testing.T, o Options) (*door, Options) {
	t.Helper()
	o.RunID, o.Addr, o.Coordinator = "job", "127.0.0.1", Always
	if o.Secret.IsZero() {
		o.Secret = auth.NewSecret()
	}
	d, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.begin(0)
	o.Port = d.Addr().(*net.TCPAddr).Port
	return d, o
}

func (o Options) rank(attempt int) auth.Identity {
	return auth.Identity{Job: launcher.Place{RunID: o.RunID, Attempt: attempt}.Job(), Service: store.Service, Secret: o.RankSecret()}
}

func TestTheDoorLeadsToTheServiceAskedFor(t *testing.T) {
	d, o := openDoor(t, Options{})
	client, err := o.reach(t.Context(), serviceControl)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(client, "PRI *")
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "PRI *" {
		t.Errorf("gRPC reads %q, %v", b, err)
	}
	for attempt := range 2 { // the second attempt's store does not know the first one's keys
		d.begin(attempt)
		st, err := store.Dial(t.Context(), o.endpoint(), o.rank(attempt))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := st.Add(t.Context(), "n", 1); err != nil || n != 1 {
			t.Errorf("store: got %d, %v, want 1", n, err)
		}
		st.Close()
	}
}

func TestTheDoorRefuses(t *testing.T) {
	_, o := openDoor(t, Options{})
	other, rank, late := o, o, o.rank(1)
	other.RunID = "other job"
	rank.Secret = o.RankSecret() // what a rank knows
	otherRank := o.rank(0)
	otherRank.Secret = other.RankSecret()
	for _, tt := range []struct {
		name string
		id   auth.Identity
		want error
	}{
		{"a rank as an agent", auth.Identity{Job: o.RunID, Service: serviceControl, Secret: rank.Secret}, auth.ErrProof},
		{"a rank as a relay", auth.Identity{Job: o.RunID, Service: serviceRelay, Secret: rank.Secret}, auth.ErrProof},
		{"an agent as a rank", auth.Identity{Job: o.rank(0).Job, Service: store.Service, Secret: o.Secret}, auth.ErrProof},
		{"a rank of another attempt", late, auth.ErrJob},
		{"a rank of another job with the same token", otherRank, auth.ErrProof},
		{"an agent of another job with the same token", auth.Identity{Job: other.RunID, Service: serviceControl, Secret: o.Secret}, auth.ErrJob},
		{"a service that there is none of", auth.Identity{Job: o.RunID, Service: "shell", Secret: o.Secret}, auth.ErrService},
		{"no name at all", auth.Identity{Secret: o.Secret}, auth.ErrService},
	} {
		conn, err := auth.Dial(t.Context(), o.endpoint(), tt.id)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.name, conn, err, tt.want)
		}
	}
}

func TestTheDoorCloses(t *testing.T) {
	d, _ := openDoor(t, Options{Store: OpenStore})
	d.Close()
	d.Close()
	if _, err := d.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

// TestPyTorchsStoreIsOpenedOnlyForIt: octet's own ranks need none; a relay leads
// from a host's loopback to it.
func TestPyTorchsStoreIsOpenedOnlyForIt(t *testing.T) {
	for _, tt := range []struct {
		name          string
		mode          StoreMode
		port, relayed bool
	}{{"none", NoStore, false, false}, {"open", OpenStore, true, true}, {"relay", RelayStore, false, true}} {
		t.Run(tt.name, func(t *testing.T) {
			d, o := openDoor(t, Options{Store: tt.mode})
			if got := d.torchPort() != 0; got != tt.port {
				t.Errorf("opened: %v, want %v", got, tt.port)
			}
			r, err := startRelay(func(ctx context.Context) (net.Conn, error) { return o.reach(ctx, serviceRelay) })
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			addrs := []string{r.gate.Addr().String()}
			if tt.port {
				addrs = append(addrs, d.torch.Addr().String())
			}
			for i, addr := range addrs {
				ctx := t.Context()
				if !tt.relayed {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
					defer cancel()
				}
				st, err := store.DialAnyone(ctx, addr)
				if (err == nil) != tt.relayed {
					t.Fatalf("%s: %v", addr, err)
				}
				if err != nil {
					continue
				}
				defer st.Close()
				if n, err := st.Add(ctx, "n", 1); err != nil || n != int64(i+1) {
					t.Errorf("got %d, %v, want %d", n, err, i+1)
				}
			}
		})
	}
}

func TestDialGivesUpOnARefusal(t *testing.T) {
	_, o := openDoor(t, Options{})
	wrong := o
	wrong.Secret = auth.NewSecret()
	other := o
	other.RunID = "other"
	for _, tt := range []struct {
		o    Options
		want string
	}{{wrong, "refused this node: the tokens differ"}, {other, "refused this node: it runs another job: give all nodes the same --rdzv-id"}} {
		if _, err := dial(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}
