// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// certificate writes a certificate for 127.0.0.1, which is its own authority, and
// its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	secretDER, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secretDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestTwoHostsOverTLS: with certificates in --rdzv-conf the launchers of two hosts
// speak TLS; one that does not, or believes another authority, does not join.
func TestTwoHostsOverTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	stranger, _ := certificate(t)
	server := "join_timeout=4,tls_cert=" + cert + ",tls_key=" + key
	for _, tt := range []struct {
		name  string
		confs [2]string // of the hosts
		said  string    // by host 1, which fails; empty: the job runs
	}{
		{"host 0 shows a certificate", [2]string{server, "tls_ca=" + cert}, ""},
		{"both do", [2]string{server + ",tls_ca=" + cert, "tls_ca=" + cert + ",tls_cert=" + cert + ",tls_key=" + key}, ""},
		{"host 1 has none where it is asked for one", [2]string{server + ",tls_ca=" + cert, "join_timeout=2,tls_ca=" + cert}, "certificate"},
		{"host 1 believes another authority", [2]string{server, "join_timeout=2,tls_ca=" + stranger}, "certificate"},
		{"host 1 speaks in the clear", [2]string{server, "join_timeout=2"}, "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			agents := twoHosts(t, "echo rank $RANK")
			for i, a := range agents {
				a.Args = slices.Insert(a.Args, 2, "--rdzv-conf="+tt.confs[i])
			}
			start(t, agents[:]...)
			codes := [2]int{agents[0].exitCode(), agents[1].exitCode()}
			said := agents[1].stderr.String()
			if runs := codes == [2]int{}; runs != (tt.said == "") || !strings.Contains(said, tt.said) {
				t.Errorf("codes %v, want %q of host 1:\n%s\nhost 0:\n%s", codes, tt.said, said, agents[0].stderr.String())
			}
		})
	}
}
