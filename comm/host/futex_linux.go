// SPDX-License-Identifier: Apache-2.0

package host

import (
	"math"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// futex operations of linux/futex.h, for memory shared between processes.
const (
	futexWait = 0
	futexWake = 1
)

// wake ends the sleep of all that wait, for them to look at something else. The
// memory may be gone.
func (c counter) wake() {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(c.value)), futexWake, math.MaxInt32, 0, 0, 0)
}

// block sleeps until the counter reaches n or d has passed; it may return
// early.
func (c counter) block(n uint32, d time.Duration) {
	c.waiters.Add(1)
	if v := c.value.Load(); int32(v-n) < 0 {
		ts := unix.NsecToTimespec(int64(d))
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(c.value)), futexWait, uintptr(v), uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
	c.waiters.Add(^uint32(0))
}
