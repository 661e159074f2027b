// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// failure is one thing that went wrong in an attempt.
type failure struct {
	at    time.Time
	class int // see Exit.class
	code  int // what the launcher exits with if this is the root
	what  string
	why   string
	exit  *Exited // nil if no rank's exit
}

func (f failure) String() string { return f.what + ": " + f.why }

// Classes of failures: the root cause is the earliest of the lowest class. A
// rank that blames another is a suspect only if nobody else is.
const (
	byItself = iota
	frozen   // stopped by SIGSTOP: it did not fail, but nobody heard from it
	victim
)

func (e Exit) class() int {
	if e.Victim {
		return victim
	}
	return byItself
}

// ExitCode is the exit status as a shell gives it: 128 and the signal's number
// for a rank that a signal ended.
func (e Exit) ExitCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

func (e Exit) why() string {
	switch {
	case e.Message != "":
		return fmt.Sprintf("%s (exit code %d)", e.Message, e.ExitCode())
	case e.Signal != 0:
		return fmt.Sprintf("killed by %s (exit code %d)", SignalName(e.Signal), e.ExitCode())
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// SignalName is as "SIGTERM", or "signal 40" where a signal has no name.
func SignalName(s syscall.Signal) string {
	return cmp.Or(unix.SignalName(s), fmt.Sprintf("signal %d", int(s)))
}

func rankName(e Exited) string { return fmt.Sprintf("rank %d on %s", e.Rank, e.host) }

func nodeName(n *node) string {
	if n.NodeRank < 0 {
		return "node " + n.Host
	}
	return fmt.Sprintf("node %d (%s)", n.NodeRank, n.Host)
}

// root returns the failure that caused the others.
func (g *Gang) root() failure {
	all := slices.Clone(g.failures)
	for _, e := range g.exits {
		if e.Frozen {
			all = append(all, failure{at: e.At, class: frozen, code: 128 + int(syscall.SIGSTOP), what: rankName(e),
				why: fmt.Sprintf("did not answer: it was stopped by SIGSTOP (exit code %d)", 128+int(syscall.SIGSTOP)), exit: &e})
		}
	}
	return slices.MinFunc(all, func(a, b failure) int {
		return cmp.Or(cmp.Compare(a.class, b.class), a.at.Compare(b.at))
	})
}

// maxListed bounds how many ranks a report lists.
const maxListed = 16

// report returns the exit code of the job and what to tell the operator.
func (g *Gang) report() (code int, lines []string) {
	if g.signal != 0 {
		return 128 + int(g.signal), []string{"stopped by " + SignalName(g.signal)}
	}
	root := g.root()
	if len(g.exits) > 0 {
		lines = append(lines, fmt.Sprintf("attempt %d of %d failed:", g.attempt+1, g.cfg.MaxRestarts+1))
		lines = append(lines, g.listExits(root)...)
	}
	if root.exit != nil && len(root.exit.Tail) > 0 {
		lines = append(lines, fmt.Sprintf("last lines of rank %d's stderr:", root.exit.Rank))
		for _, l := range root.exit.Tail {
			lines = append(lines, "  | "+l)
		}
	}
	last := "first to fail: " + root.String()
	if early := g.early(root); root.class == victim && len(early) > 0 {
		last += "; " + rankName(early[0]) + " had left before, with exit code 0"
	}
	return root.code, append(lines, last)
}

// early returns the ranks that exited 0 before the root failed, in their order:
// others may have waited for them.
func (g *Gang) early(root failure) []Exited {
	left := slices.DeleteFunc(slices.Clone(g.exits), func(e Exited) bool {
		return e.ExitCode() != 0 || e.Killed || !e.At.Before(root.at)
	})
	slices.SortStableFunc(left, func(a, b Exited) int { return a.At.Compare(b.At) })
	return left
}

// listExits has a line for each rank but those that went on to a good end:
// failures in their order, ranks that had left before, ranks that were stopped.
func (g *Gang) listExits(root failure) []string {
	exits := slices.DeleteFunc(slices.Clone(g.exits), func(e Exited) bool { return e.ExitCode() == 0 && !e.Frozen })
	slices.SortStableFunc(exits, func(a, b Exited) int {
		return cmp.Or(boolCompare(a.Killed, b.Killed), a.At.Compare(b.At), cmp.Compare(a.Rank, b.Rank))
	})
	stopped := len(exits)
	if i := slices.IndexFunc(exits, func(e Exited) bool { return e.Killed }); i >= 0 {
		stopped = i
	}
	exits = slices.Insert(exits, stopped, g.early(root)...)
	var lines []string
	for i, e := range exits {
		if i == maxListed {
			lines = append(lines, fmt.Sprintf("  and %d more", len(exits)-i))
			break
		}
		what := e.why()
		switch {
		case e.Frozen:
			what = "was stopped by SIGSTOP, then ended by octet"
		case e.Killed:
			what = "stopped by octet"
		case e.ExitCode() == 0:
			what = fmt.Sprintf("left with exit code 0, %v before the first failure", root.at.Sub(e.At).Round(time.Millisecond))
		case e.Victim:
			what = "victim: " + what
		}
		if d := e.At.Sub(root.at).Round(time.Millisecond); d > 0 && !e.Killed {
			what += fmt.Sprintf(", %v after the first", d)
		}
		lines = append(lines, fmt.Sprintf("  %s (local rank %d, pid %d): %s", rankName(e), e.LocalRank, e.PID, what))
	}
	return lines
}
