// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is how agents and the coordinator encrypt what they say to each other; each
// is told which certificates to show and to believe. Ranks' connections do not
// use it.
type TLS struct{ Server, Client *tls.Config }

// LoadTLS reads PEM files: a certificate and its key, which the coordinator needs
// and an agent may have, and certificates of authorities. With the latter the
// coordinator asks agents for a certificate (mutual TLS); without, agents believe
// the system's authorities. host is the name of the coordinator that its
// certificate must have.
func LoadTLS(cert, key, ca, host string, coordinator bool) (*TLS, error) {
	base := tls.Config{MinVersion: tls.VersionTLS13}
	if (cert == "") != (key == "") || coordinator && cert == "" {
		return nil, errors.New("tls_cert and tls_key: want both, and on the coordinator's host always")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls_cert %s, tls_key %s: %w", cert, key, err)
		}
		base.Certificates = []tls.Certificate{pair}
	}
	t := &TLS{Server: base.Clone(), Client: base.Clone()}
	t.Client.ServerName = host
	if ca == "" {
		return t, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls_ca %s: no certificate in it", ca)
	}
	t.Client.RootCAs = pool
	t.Server.ClientCAs, t.Server.ClientAuth = pool, tls.RequireAndVerifyClientCert
	return t, nil
}
