// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"os"
	"strconv"
	"strings"
)

// outOfMemory is the reason of a SIGKILL that nobody but the kernel can have sent.
const outOfMemory = "killed by the kernel, which found no more memory (SIGKILL of the OOM killer): give each rank less, or the host more memory"

// oomKills is how many processes the kernel has killed for lack of memory since it
// began, those in a container's limit included; 0 where it does not tell.
func oomKills(vmstat string) int {
	text, _ := os.ReadFile(vmstat)
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}
