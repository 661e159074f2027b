// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// computeSlice is how long a thread that computes keeps a processor: longer than Linux's own slices of up to 3 ms, which the others have, and not by
// so much that a busy machine makes it wait long for its turn.
const computeSlice = 10 * time.Millisecond

// giveWay has the goroutine compute on a thread of its own, which whoever wakes up displaces at once, such as one that moves what
// another rank waits for: since Linux 6.12 a thread does not wait for the end of another one's longer slice. An older kernel, or one that
// refuses, costs only speed.
func giveWay() {
	runtime.LockOSThread()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime = uint64(computeSlice)
	_ = unix.SchedSetAttr(0, attr, 0)
}
