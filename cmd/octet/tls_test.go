// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"slices"
	"strings"
	"testing"

	"octet/test/certs"
)

// TestTwoHostsOverTLS: with certificates in --rdzv-conf the launchers of two hosts
// speak TLS; one that does not, or believes another authority, does not join.
func TestTwoHostsOverTLS(t *testing.T) {
	t.Parallel()
	a := certs.New(t)
	a.Issue(t, "node", net.IPv4(127, 0, 0, 1))
	shown, ca, stranger := "tls_cert="+a.File("node.pem")+",tls_key="+a.File("node.key"), "tls_ca="+a.File("ca.pem"), "tls_ca="+certs.New(t).File("ca.pem")
	server := "join_timeout=4," + shown
	for _, tt := range []struct {
		name  string
		confs [2]string // of the hosts
		said  string    // by host 1, which fails; empty: the job runs
	}{
		{"host 0 shows a certificate", [2]string{server, ca}, ""},
		{"both do", [2]string{server + "," + ca, ca + "," + shown}, ""},
		{"host 1 has none where it is asked for one", [2]string{server + "," + ca, "join_timeout=2," + ca}, "certificate"},
		{"host 1 believes another authority", [2]string{server, "join_timeout=2," + stranger}, "certificate"},
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
