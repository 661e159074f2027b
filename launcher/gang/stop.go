// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"fmt"
	"slices"
	"syscall"
	"time"
)

// interrupt stops the gang for good by the operator's signal; a second signal
// does not wait for the grace. A gang that stops because of a failure still
// reports that failure.
func (g *Gang) interrupt(now time.Time, n *node, s Signal) {
	if g.signal != 0 {
		g.stop(now, "stopped by a second "+SignalName(s.Number), syscall.SIGKILL, 0, false)
		return
	}
	g.final = true
	if g.state == Stopping {
		return
	}
	g.signal = s.Number
	if g.state == Forming {
		g.finish()
		return
	}
	why := "stopped by " + SignalName(s.Number)
	if !n.First {
		why += " to " + nodeName(n)
	}
	g.stop(now, why, s.Number, g.cfg.SignalGrace, true)
}

// fail notes a failure; the first one stops the gang.
func (g *Gang) fail(now time.Time, f failure) {
	g.failures = append(g.failures, f)
	if g.state == Stopping {
		return
	}
	if g.state == Forming { // no rank runs: there is nothing to stop
		if len(g.failures) > 1 {
			g.out = append(g.out, Say{f.String()})
		}
		g.finish()
		return
	}
	g.stop(now, f.String(), syscall.SIGTERM, g.cfg.FailGrace, false)
}

func (g *Gang) stop(now time.Time, cause string, signal syscall.Signal, grace time.Duration, maySave bool) {
	if g.state != Stopping {
		g.state, g.since = Stopping, now
	}
	g.grace = grace
	g.out = append(g.out, Stop{Attempt: g.attempt, Cause: cause, Signal: signal, Grace: grace, MaySave: maySave})
}

// stopDeadline leaves a node the time to kill its ranks after the grace and to
// report it.
func (g *Gang) stopDeadline() time.Time { return g.since.Add(2*g.grace + 5*time.Second) }

func (g *Gang) stopping(now time.Time) {
	busy := slices.DeleteFunc(slices.Clone(g.nodes), func(n *node) bool { return n.stopped })
	if len(busy) > 0 && now.Before(g.stopDeadline()) {
		return
	}
	for _, n := range busy {
		g.out = append(g.out, Say{fmt.Sprintf("%s did not report that its ranks are gone", nodeName(n))})
	}
	if g.final || g.attempt == g.cfg.MaxRestarts {
		g.finish()
		return
	}
	pause := min(time.Second<<min(g.attempt, 6), time.Minute)
	g.out = append(g.out, Say{fmt.Sprintf("attempt %d of %d failed: %s; starting again in %v",
		g.attempt+1, g.cfg.MaxRestarts+1, g.root(), pause)})
	g.attempt++
	g.exits = nil
	g.state, g.since, g.notBefore, g.nextSay = Forming, now, now.Add(pause), now.Add(sayEvery+pause)
}

// finish ends a gang that did not succeed.
func (g *Gang) finish() {
	g.state = Failed
	code, report := g.report()
	g.out = append(g.out, Finish{Code: code, Report: report})
}
