// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"octet/internal/auth"
)

// authority makes certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", true, nil)
	return a
}

// issue writes NAME.pem and NAME.key, for 127.0.0.1 or the address given.
func (a *authority) issue(t *testing.T, name string, ca bool, ip net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	}
	parent, signer := tmpl, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string {
	if name == "" {
		return ""
	}
	return filepath.Join(a.dir, name)
}

// load is LoadTLS of files of the authority; cert is also the key's name.
func (a *authority) load(t *testing.T, cert, ca string, coordinator bool) *TLS {
	t.Helper()
	key := cert
	if cert != "" {
		cert, key = cert+".pem", cert+".key"
	}
	tls, err := LoadTLS(a.file(cert), a.file(key), a.file(ca), "127.0.0.1", coordinator)
	if err != nil {
		t.Fatal(err)
	}
	return tls
}

func TestTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	ip := net.IPv4(127, 0, 0, 1)
	a.issue(t, "node", false, ip)
	a.issue(t, "elsewhere", false, net.IPv4(10, 0, 0, 1))
	other.issue(t, "node", false, ip)
	for _, tt := range []struct {
		name           string
		server, client *TLS
		want           string // part of the error; empty: none
	}{
		{"none", nil, nil, ""},
		{"TLS", a.load(t, "node", "", true), a.load(t, "", "ca.pem", false), ""},
		{"mutual", a.load(t, "node", "ca.pem", true), a.load(t, "node", "ca.pem", false), ""},
		{"no certificate of the agent", a.load(t, "node", "ca.pem", true), a.load(t, "", "ca.pem", false), "certificate required"},
		{"the agent's of another authority", a.load(t, "node", "ca.pem", true), mix(other.load(t, "node", "ca.pem", false), a.load(t, "", "ca.pem", false)), "bad certificate|unknown certificate authority|certificate required"},
		{"the coordinator's of another authority", other.load(t, "node", "", true), a.load(t, "", "ca.pem", false), "certificate signed by unknown authority"},
		{"the coordinator's for another address", a.load(t, "elsewhere", "", true), a.load(t, "", "ca.pem", false), "certificate is valid for 10.0.0.1, not 127.0.0.1"},
		{"TLS to a plain port", nil, a.load(t, "", "ca.pem", false), "node 0 needs tls_cert and tls_key"},
		{"plain to a TLS port", a.load(t, "node", "", true), nil, "it wants TLS: give all nodes --rdzv-conf tls_ca=FILE"},
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
	a := newAuthority(t)
	a.issue(t, "node", false, net.IPv4(127, 0, 0, 1))
	_, o := openDoor(t, Options{TLS: a.load(t, "node", "ca.pem", true)})
	o.Secret = auth.NewSecret()
	if _, err := dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the tokens differ") {
		t.Errorf("error %v", err)
	}
}

func TestLoadTLSNamesTheFile(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "node", false, net.IPv4(127, 0, 0, 1))
	for _, tt := range []struct {
		cert, key, ca string
		coordinator   bool
		want          string
	}{
		{"node.pem", "", "", false, "tls_cert and tls_key: want both"},
		{"", "", "ca.pem", true, "on the coordinator's host always"},
		{"node.pem", "ca.key", "", true, "tls_key " + a.file("ca.key")},
		{"", "", "missing.pem", false, "tls_ca: open " + a.file("missing.pem")},
		{"", "", "node.key", false, "no certificate in it"},
	} {
		_, err := LoadTLS(a.file(tt.cert), a.file(tt.key), a.file(tt.ca), "h", tt.coordinator)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v", tt, err)
		}
	}
}
