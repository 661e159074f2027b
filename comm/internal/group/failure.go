// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"octet/comm"
)

// Ranks in errors are ranks of the world, in all groups.

// title names the call.
func (c *call) title() string {
	return fmt.Sprintf("%v #%d of group %q (%d bytes)", c.sig.Kind, c.sig.Seq, c.g.Name(), c.sig.Bytes)
}

// abort ends the job with what went wrong in this call, unless it has ended
// before, and returns the error of this rank's stream.
func (c *call) abort(err error) error {
	aborted, ok := errors.AsType[*comm.AbortError](err)
	if !ok {
		if t, ok := errors.AsType[Timeout](err); ok {
			err = c.late(t)
		}
		err = fmt.Errorf("%s: %w", c.title(), err)
		if aborted = c.g.job.Abort(c.g.self(), err); aborted.Err == err { //nolint:errorlint // identity: whether this very error came first
			return err
		}
	}
	return fmt.Errorf("%s: %w", c.title(), aborted)
}

// mismatch shows this rank's call and the other one of rank q.
func (c *call) mismatch(q int, other *Call) error {
	a, b, ra, rb := &c.sig, other, c.g.self(), c.g.members[q]
	if rb < ra {
		a, b, ra, rb = b, a, rb, ra
	}
	detail := ""
	if a.String() == b.String() {
		detail = " (the lists differ further on)"
	}
	return fmt.Errorf("ranks make different calls: rank %d calls %v; rank %d calls %v%s", ra, a, rb, b, detail)
}

// late is the text of a deadline: who is not there, and who is. Where all have
// begun the call, those are at fault that have come the least far: the others
// have posted a message before they began to wait.
func (c *call) late(t Timeout) error {
	g, what := c.g, "not arrived"
	progress := make([]int32, g.Size()) // rounds of this call
	least := int32(0)
	for q := range progress {
		if q == g.Rank() {
			progress[q] = 1<<31 - 1
		} else {
			progress[q] = int32(g.link.Posted(q) - c.first)
		}
	}
	if slowest := slices.Min(progress); slowest > 0 {
		what, least = "stopped within the call", slowest
		if c.sig.Kind == comm.Broadcast { // only the root goes on posting
			clear(progress)
			least = -1
			progress[t.Rank] = -1
		}
	}
	var missing, here []int
	for q, r := range g.members {
		if progress[q] <= least {
			missing = append(missing, r)
		} else {
			here = append(here, r)
		}
	}
	return Missing(missing, fmt.Sprintf("%s after %v; arrived: %s", what, g.job.Timeout(), list(here)))
}

// Missing is a PeerError that says what the ranks have done or not.
func Missing(ranks []int, what string) error {
	return &comm.PeerError{Ranks: ranks, Text: have(ranks) + " " + what}
}

// have is "rank 1 has" or "ranks 1, 2 have".
func have(ranks []int) string {
	if len(ranks) == 1 {
		return "rank " + list(ranks) + " has"
	}
	return "ranks " + list(ranks) + " have"
}

// list is "0, 1, 2".
func list(ranks []int) string {
	ranks = slices.Sorted(slices.Values(ranks))
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ranks), " ", ", "), "[]")
}
