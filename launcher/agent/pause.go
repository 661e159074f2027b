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

// vigil watches for the other side's signs of life.
type vigil struct {
	pauses
	patience time.Duration
	heard    time.Time
}

func newVigil(now time.Time, every, patience time.Duration) *vigil {
	return &vigil{pauses{every, now}, patience, now}
}

// left is how long the other side may still be silent; 0 or less: it is lost.
func (v *vigil) left(now time.Time) time.Duration {
	if v.at(now) > 0 {
		v.heard = now
	}
	return v.heard.Add(v.patience).Sub(now)
}
