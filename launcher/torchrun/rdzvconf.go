// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"octet/launcher/agent"
)

// rdzvConf is what octet reads of --rdzv-conf.
type rdzvConf struct {
	joinTimeout            time.Duration
	beatEvery              time.Duration // between signs of life
	beats                  int           // so many may be missed
	isHost                 *bool         // nil: not given
	tokenFile              string        // instead of OCTET_JOB_TOKEN
	bind                   string        // where the coordinator listens; empty: at its address
	tlsCert, tlsKey, tlsCA string        // files
	store                  string        // for PyTorch's ranks: open, relay or none; empty: as the program needs
	storePort              int           // of an open one; 0: any
}

// conf reads --rdzv-conf.
func (f *Flags) conf() (rdzvConf, error) {
	c := rdzvConf{joinTimeout: 600 * time.Second, beatEvery: time.Second, beats: 5}
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
		var err error
		switch key {
		case "join_timeout", "timeout":
			c.joinTimeout, err = seconds(value)
		case "keep_alive_interval":
			c.beatEvery, err = seconds(value)
		case "keep_alive_max_attempt":
			if c.beats, err = strconv.Atoi(value); err != nil || c.beats < 1 || c.beats > 1e6 {
				err = errors.New("want a number of missed signs of life, 1 or more")
			}
		case "is_host":
			var b bool
			if b, err = strconv.ParseBool(value); err != nil {
				err = errors.New("want true or false")
			}
			c.isHost = &b
		case "store_port":
			if c.storePort, err = strconv.Atoi(value); err != nil || c.storePort < 1 || c.storePort > 65535 {
				err = errors.New("want 1 to 65535")
			}
		default:
			return c, fmt.Errorf("--rdzv-conf: %q is not supported: octet reads join_timeout, timeout, is_host, token_file, bind, tls_cert, tls_key, tls_ca, store, store_port, keep_alive_interval and keep_alive_max_attempt", key)
		}
		if err != nil {
			return c, fmt.Errorf("--rdzv-conf %s=%q: %w", key, value, err)
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
