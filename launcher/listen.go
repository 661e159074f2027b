// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Listen listens for TCP on port of host ("" is every interface, port 0 any free
// port). A port in use is an error that says, where the system tells, by whom.
func Listen(host string, port int) (net.Listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		by := ""
		if holder := portHolder(port); holder != "" {
			by = " by " + holder
		}
		return nil, fmt.Errorf("port %d is in use%s: stop it or choose another port: %w", port, by, err)
	}
	return ln, err
}
