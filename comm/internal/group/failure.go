// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"octet/comm"
)

// Ranks in errors are ranks of the world, in all groups.

// title names the call.
func (c *call) title() string { return c.sig.Title(c.g.Name()) }

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

// rollPatience is how long ranks have to say that they run: what a process needs to
// look up, and a way there and back.
const rollPatience = 2 * time.Second

// late is the text of a deadline: who is not there, and who is. A rank that is not
// there may wait for another one itself, in an earlier call or another group; so the ranks
// are asked whether their processes run, and where some do not answer those are
// named; otherwise whoever those wait for, that are not there.
func (c *call) late(t Timeout) error {
	g := c.g
	named, what := c.behind(t)
	here := without(g.members, named)
	way := ""
	if silent := g.net.RollCall(g.members, rollPatience); len(silent) > 0 {
		named = silent
	} else {
		named, way = g.behindThem(named)
	}
	return comm.Missing(named, fmt.Sprintf("%s after %v%s; arrived: %s", what, g.job.Timeout(), way, comm.List(without(here, named))))
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
