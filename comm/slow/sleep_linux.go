// SPDX-License-Identifier: Apache-2.0

package slow

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep returns at a time, some 0.1 ms late. Go's own timers are up to 1 ms late where a runtime waits for nothing else, because it waits in
// whole milliseconds: as much as the latency of an emulated wire.
func sleep(until time.Time) {
	for left := time.Until(until); left > 0; left = time.Until(until) { // signals wake it
		ts := unix.NsecToTimespec(int64(left))
		_ = unix.Nanosleep(&ts, nil)
	}
}
