// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"os"
	"slices"
	"syscall"
	"time"
)

const sigKILL = syscall.SIGKILL

// process is one of the system's.
type process struct {
	pid, parent, session int
	state                byte
}

// abandonAfter bounds the killing of processes: one in an uninterruptible sleep
// of the kernel does not die.
const abandonAfter = 3 * time.Second

// killDescendants kills every descendant of this process but those of spare, and
// returns when none is left. With reap, it also waits for our children: after the
// ranks, orphans that were given to us.
func killDescendants(spare int, reap bool) {
	killUntilGone(func() []process { return living(spare, reap) })
}

// killUntilGone kills what find finds until that is nothing.
func killUntilGone(find func() []process) {
	for start := time.Now(); time.Since(start) < abandonAfter; time.Sleep(2 * time.Millisecond) {
		left := find()
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if len(left) == 0 {
			return
		}
	}
}

// living returns the descendants of this process that have not ended, without the
// tree of spare; with reap it waits for those children that have.
func living(spare int, reap bool) []process {
	self := os.Getpid()
	return slices.DeleteFunc(descendants(processes(), self, spare), func(p process) bool {
		if p.state == 'Z' && reap && p.parent == self {
			_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		}
		return p.state == 'Z'
	})
}

// descendants returns the processes below root, without the tree of spare.
func descendants(all []process, root, spare int) []process {
	below := map[int]bool{root: true}
	var found []process
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if below[p.parent] && !below[p.pid] && p.pid != spare {
				below[p.pid], grown = true, true
				found = append(found, p)
			}
		}
	}
	return found
}
