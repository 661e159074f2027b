// SPDX-License-Identifier: Apache-2.0

package agent

import "time"

// pauses notices that this process was stopped as a whole (Ctrl-Z, a suspended
// job, a frozen container). Meanwhile it heard nobody, so what it waited for had
// no chance: such time does not count.
type pauses struct {
	every time.Duration // at is called as often as that, or more often
	last  time.Time
}

// at returns how long the process was stopped since the last call; now has a
// monotonic reading.
func (p *pauses) at(now time.Time) time.Duration {
	gap := now.Sub(p.last)
	p.last = now
	if gap <= 2*p.every {
		return 0
	}
	return gap - p.every
}
