// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"octet/launcher/agent"
)

// rdzvConf is what octet reads of --rdzv-conf.
type rdzvConf struct {
	joinTimeout            time.Duration
	isHost                 *bool  // nil: not given
	tokenFile              string // instead of OCTET_JOB_TOKEN
	bind                   string // where the coordinator listens; empty: at its address
	tlsCert, tlsKey, tlsCA string // files
	store                  string // for PyTorch's ranks: open, relay or none; empty: as the program needs
	storePort              int    // of an open one; 0: any
}

func (f *runFlags) conf() (rdzvConf, error) {
	c := rdzvConf{joinTimeout: 600 * time.Second}
	if f.rdzvConf == "" {
		return c, nil
	}
	texts := map[string]*string{
		"token_file": &c.tokenFile, "bind": &c.bind, "tls_cert": &c.tlsCert, "tls_key": &c.tlsKey, "tls_ca": &c.tlsCA, "store": &c.store,
	}
	for part := range strings.SplitSeq(f.rdzvConf, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if text, ok := texts[key]; ok {
			*text = value
			continue
		}
		switch key {
		case "join_timeout", "timeout":
			s, err := strconv.ParseFloat(value, 64)
			if err != nil || s <= 0 {
				return c, fmt.Errorf("--rdzv-conf %s=%q: want seconds, more than 0", key, value)
			}
			c.joinTimeout = time.Duration(s * float64(time.Second))
		case "is_host":
			b, err := strconv.ParseBool(value)
			if err != nil {
				return c, fmt.Errorf("--rdzv-conf is_host=%q: want true or false", value)
			}
			c.isHost = &b
		case "store_port":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 65535 {
				return c, fmt.Errorf("--rdzv-conf store_port=%q: want 1 to 65535", value)
			}
			c.storePort = n
		default:
			return c, fmt.Errorf("--rdzv-conf: %q is not supported: octet reads join_timeout, timeout, is_host, token_file, bind, tls_cert, tls_key, tls_ca, store and store_port", key)
		}
	}
	return c, nil
}

// apply sets what the coordinator and the agents need of c.
func (c rdzvConf) apply(o *agent.Options) (err error) {
	o.Bind, o.StorePort = c.bind, c.storePort
	modes := map[string]agent.StoreMode{"": agent.OpenStore, "open": agent.OpenStore, "relay": agent.RelayStore, "none": agent.NoStore}
	mode, ok := modes[c.store]
	if !ok {
		return fmt.Errorf("--rdzv-conf store=%q: want open, relay or none", c.store)
	}
	o.Store = mode
	if c.tlsCert+c.tlsKey+c.tlsCA == "" {
		return nil
	}
	if o.TLS, err = agent.LoadTLS(c.tlsCert, c.tlsKey, c.tlsCA, o.Addr, o.Coordinator != agent.Never); err != nil {
		err = fmt.Errorf("--rdzv-conf %w", err)
	}
	return err
}
