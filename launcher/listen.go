// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Listen listens for TCP connections of clients that dial host:port (port 0: any
// free one), on that address of this host and no other. A port in use is an error
// that says, where the system tells, by whom.
func Listen(host string, port int) (net.Listener, error) {
	addr, err := ownAddress(host)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		by := ""
		if holder := portHolder(port); holder != "" {
			by = " by " + holder
		}
		return nil, fmt.Errorf("port %d is in use%s: stop it or choose another port: %w", port, by, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is not an address of this host: %w", host, err)
	}
	return ln, err
}

// ownAddress is the address of this host to listen on for a name. Some systems
// give a host's own name a loopback address, on which no other host could reach
// it.
func ownAddress(host string) (string, error) {
	if host == "localhost" || net.ParseIP(host) != nil {
		return host, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", err
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return ip.String(), nil
		}
	}
	return "", fmt.Errorf("here the name %s means %s, where no other host can connect: give an address of this host (or localhost)", host, ips[0])
}
