// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"fmt"
	"net"

	"octet/internal/auth"
	"octet/launcher/agent"
)

// secret is what the members of the job prove to each other that they know: from
// a file or OCTET_JOB_TOKEN, or, where all of them come from this process, drawn
// at random.
func (f *Flags) secret(o agent.Options, conf rdzvConf) (auth.Secret, error) {
	if conf.tokenFile != "" {
		s, err := auth.ReadSecret(conf.tokenFile)
		if err != nil {
			err = fmt.Errorf("--rdzv-conf token_file: %w", err)
		}
		return s, err
	}
	s, err := auth.ParseSecret(f.token)
	switch {
	case err != nil:
		return s, fmt.Errorf("%s: %w", auth.TokenVar, err)
	case !s.IsZero():
		return s, nil
	case o.Nodes == 1:
		return auth.NewSecret(), nil
	case !f.insecure && !loopback(o.Addr):
		return s, fmt.Errorf("--nnodes %d at %s: give every host the same token, so that nobody else can join: in %s or --rdzv-conf token_file=FILE "+
			"(`openssl rand -hex 32` makes one); or let anyone on the network join, with --insecure", o.Nodes, o.Addr, auth.TokenVar)
	case f.insecure:
		o.Say("--insecure: anyone who reaches " + o.Addr + " can join, read and stop this job")
	}
	return auth.Public(), nil
}

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }
