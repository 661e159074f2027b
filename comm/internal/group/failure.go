// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// rollPatience is how long ranks have to say that they run: what a process needs to
// look up, and a way there and back.
const rollPatience = 2 * time.Second

// late is the text of a deadline: who is not there, and who is. A rank that is not
// there may wait for another one itself, here or in an earlier call; so the ranks
// are asked whether their processes run, and where some do not answer those are
// named.
func (c *call) late(t Timeout) error {
	g := c.g
	named, what := c.behind(t)
	here := without(g.members, named)
	if silent := g.net.RollCall(g.members, rollPatience); len(silent) > 0 {
		named = silent
	}
	return Missing(named, fmt.Sprintf("%s after %v; arrived: %s", what, g.job.Timeout(), list(without(here, named))))
}

// behind are the ranks that have not begun the call or, where all have, those that
// have come the least far in it: the others have posted a message before they began
// to wait.
func (c *call) behind(t Timeout) (ranks []int, what string) {
	g := c.g
	progress := make([]int32, g.Size()) // rounds of this call
	for q := range progress {
		if q == g.Rank() {
			progress[q] = 1<<31 - 1
		} else {
			progress[q] = int32(g.link.Posted(q) - c.first)
		}
	}
	what, least := "not arrived", int32(0)
	if slowest := slices.Min(progress); slowest > 0 {
		what, least = "stopped within the call", slowest
		if c.sig.Kind == comm.Broadcast || c.betweenHosts() { // not all go on posting
			return []int{t.World}, what
		}
	}
	for q, r := range g.members {
		if progress[q] <= least {
			ranks = append(ranks, r)
		}
	}
	return ranks, what
}

// without is the ranks but for the others.
func without(ranks, others []int) []int {
	return slices.DeleteFunc(slices.Clone(ranks), func(r int) bool { return slices.Contains(others, r) })
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
