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
// free one). For a loopback host that is the loopback interface, so that a job on
// one machine is not open to the network; else all interfaces, since host may be
// a name or a translated address that none of them has. A port in use is an error
// that says, where the system tells, by whom.
func Listen(host string, port int) (net.Listener, error) {
	bind := ""
	if ip := net.ParseIP(host); host == "localhost" || ip.IsLoopback() {
		bind = host
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(bind, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		by := ""
		if holder := portHolder(port); holder != "" {
			by = " by " + holder
		}
		return nil, fmt.Errorf("port %d is in use%s: stop it or choose another port: %w", port, by, err)
	}
	return ln, err
}
