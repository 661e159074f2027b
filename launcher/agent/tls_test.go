// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net"
	"strings"
	"testing"
	"time"

	"octet/internal/auth"
	"octet/test/certs"
)

// load is LoadTLS of files of an authority; cert is also the key's name.
func load(t *testing.T, a *certs.Authority, cert, ca string, coordinator bool) *TLS {
	t.Helper()
	key := cert
	if cert != "" {
		cert, key = cert+".pem", cert+".key"
	}
	tls, err := LoadTLS(a.File(cert), a.File(key), a.File(ca), "127.0.0.1", coordinator)
	if err != nil {
		t.Fatal(err)
	}
	return tls
}

func TestTLS(t *testing.T) {
	a, other := certs.New(t), certs.New(t)
	ip := net.IPv4(127, 0, 0, 1)
	a.Issue(t, "node", ip)
	a.Issue(t, "elsewhere", net.IPv4(10, 0, 0, 1))
	other.Issue(t, "node", ip)
	for _, tt := range []struct {
		name           string
		server, client *TLS
		want           string // part of the error; empty: none
	}{
		{"none", nil, nil, ""},
		{"TLS", load(t, a, "node", "", true), load(t, a, "", "ca.pem", false), ""},
		{"mutual", load(t, a, "node", "ca.pem", true), load(t, a, "node", "ca.pem", false), ""},
		{"no certificate of the agent", load(t, a, "node", "ca.pem", true), load(t, a, "", "ca.pem", false), "certificate required"},
		{"the agent's of another authority", load(t, a, "node", "ca.pem", true), mix(load(t, other, "node", "ca.pem", false), load(t, a, "", "ca.pem", false)), "bad certificate|unknown certificate authority|certificate required"},
		{"the coordinator's of another authority", load(t, other, "node", "", true), load(t, a, "", "ca.pem", false), "certificate signed by unknown authority"},
		{"the coordinator's for another address", load(t, a, "elsewhere", "", true), load(t, a, "", "ca.pem", false), "certificate is valid for 10.0.0.1, not 127.0.0.1"},
		{"TLS to a plain port", nil, load(t, a, "", "ca.pem", false), "node 0 needs tls_cert and tls_key"},
		{"plain to a TLS port", load(t, a, "node", "", true), nil, "it wants TLS: give all nodes --rdzv-conf tls_ca=FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, o := openDoor(t, Options{TLS: tt.server})
			o.TLS, o.JoinTimeout = tt.client, 100*time.Millisecond
			conn, err := dial(t.Context(), o)
			if tt.want != "" {
				if err == nil { // TLS 1.3: the client is done before the server has judged it
					_, err = conn.Read(make([]byte, 1))
				}
				if err == nil || !containsOne(err.Error(), strings.Split(tt.want, "|")) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			there, err := d.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer there.Close()
		})
	}
}

// mix shows the certificate of one and believes what the other does.
func mix(shows, believes *TLS) *TLS {
	c := shows.Client.Clone()
	c.RootCAs = believes.Client.RootCAs
	return &TLS{Client: c}
}

func containsOne(text string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

// TestTLSWantsTheTokenToo: a certificate does not make a member.
func TestTLSWantsTheTokenToo(t *testing.T) {
	a := certs.New(t)
	a.Issue(t, "node", net.IPv4(127, 0, 0, 1))
	_, o := openDoor(t, Options{TLS: load(t, a, "node", "ca.pem", true)})
	o.Secret = auth.NewSecret()
	if _, err := dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the tokens differ") {
		t.Errorf("error %v", err)
	}
}

func TestLoadTLSNamesTheFile(t *testing.T) {
	a := certs.New(t)
	a.Issue(t, "node", net.IPv4(127, 0, 0, 1))
	for _, tt := range []struct {
		cert, key, ca string
		coordinator   bool
		want          string
	}{
		{"node.pem", "", "", false, "tls_cert and tls_key: want both"},
		{"", "", "ca.pem", true, "on the coordinator's host always"},
		{"node.pem", "ca.key", "", true, "tls_key " + a.File("ca.key")},
		{"", "", "missing.pem", false, "tls_ca: open " + a.File("missing.pem")},
		{"", "", "node.key", false, "no certificate in it"},
	} {
		_, err := LoadTLS(a.File(tt.cert), a.File(tt.key), a.File(tt.ca), "h", tt.coordinator)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v", tt, err)
		}
	}
}
