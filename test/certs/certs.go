// SPDX-License-Identifier: Apache-2.0

// Package certs makes certificates for tests of TLS, of an authority of the test's
// own:
//
//	a := certs.New(t)
//	a.Issue(t, "node", net.IPv4(127, 0, 0, 1))
//	tls.LoadX509KeyPair(a.File("node.pem"), a.File("node.key"))
package certs

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
	"testing"
	"time"
)

// Authority issues certificates into a folder; its own are ca.pem and ca.key.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority whose files last as long as the test.
func New(t *testing.T) *Authority {
	a := &Authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", true, nil)
	return a
}

// Issue writes NAME.pem and NAME.key, for the address.
func (a *Authority) Issue(t *testing.T, name string, ip net.IP) { a.issue(t, name, false, ip) }

func (a *Authority) issue(t *testing.T, name string, ca bool, ip net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
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
		if err := os.WriteFile(a.File(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// File is the path of a file that the authority has written; of no name it is empty.
func (a *Authority) File(name string) string {
	if name == "" {
		return ""
	}
	return filepath.Join(a.dir, name)
}
