// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// portHolder names the process that listens on a TCP port, as "pid 12 (nc -l
// 29500)", or "" if it belongs to another user. /proc/net/tcp gives the inode of
// the socket, /proc/*/fd the process that has it open.
func portHolder(port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table) // no IPv6: no such file
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "0A" {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && inodes[link] {
			proc := filepath.Dir(filepath.Dir(fd))
			cmd, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
			words := strings.ReplaceAll(strings.TrimRight(string(cmd), "\x00"), "\x00", " ")
			return fmt.Sprintf("pid %s (%.100s)", filepath.Base(proc), words)
		}
	}
	return ""
}
