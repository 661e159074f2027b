// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"octet/internal/datadriven"
)

// harness plays scenarios. `new` makes a gang at time 0; every other case is a
// list of events, one a line, each with optional at=<seconds> (else the time of
// the one before). Output: the actions of each event, then state and deadline.
type harness struct {
	g   *Gang
	now time.Duration
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestScenarios(t *testing.T) {
	var h harness
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		if c.Cmd == "new" {
			h = harness{g: New(Config{
				Nodes: c.Int(t, "nodes", 1), MaxRestarts: c.Int(t, "restarts", 0),
				JoinTimeout: 600 * time.Second, StartTimeout: time.Minute, BeatTimeout: 5 * time.Second,
				FailGrace: 5 * time.Second, SignalGrace: 30 * time.Second,
				Asked: []Asked{{"--max-restarts", fmt.Sprint(c.Int(t, "restarts", 0))}, {"program", "train"}}, Host: "host-1",
			}, start)}
			return h.state()
		}
		var out strings.Builder
		for line := range strings.Lines(c.Input) {
			ev := h.event(t, c.Pos, strings.Fields(line))
			for _, a := range h.g.Step(start.Add(h.now), ev) {
				out.WriteString(show(a))
			}
		}
		return out.String() + h.state()
	})
}

func (h *harness) state() string {
	s := fmt.Sprintf("%v attempt %d at %v", h.g.State(), h.g.attempt, h.now)
	if d := h.g.Deadline(); !d.IsZero() {
		s += fmt.Sprintf(", deadline %v", d.Sub(start))
	}
	return s + "\n"
}

func (h *harness) event(t *testing.T, pos string, words []string) Event {
	t.Helper()
	vals := map[string]string{"rank": "-1", "attempt": fmt.Sprint(h.g.attempt), "nproc": "1"}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		vals[k] = v
	}
	num := func(key string) int {
		n, err := strconv.Atoi(vals[key])
		if err != nil && vals[key] != "" {
			t.Fatalf("%s: %s: %v", pos, key, err)
		}
		return n
	}
	seconds := func(key string) time.Duration {
		d, err := time.ParseDuration(vals[key] + "s")
		if err != nil {
			t.Fatalf("%s: %s: %v", pos, key, err)
		}
		return d
	}
	if vals["at"] != "" {
		h.now = seconds("at")
	}
	node := ""
	if len(words) > 1 {
		node = words[1]
	}
	switch words[0] {
	case "join":
		return Join{Node: node, Host: "host-" + node, Addr: "10.0.0." + node, NodeRank: num("rank"), LocalWorldSize: num("nproc"), First: vals["first"] != "",
			Asked: []Asked{{"--max-restarts", cmp.Or(vals["restarts"], fmt.Sprint(h.g.cfg.MaxRestarts))}, {"program", cmp.Or(vals["program"], "train")}}}
	case "started":
		return Started{node, num("attempt")}
	case "beat":
		return Beat{node}
	case "exit":
		at := h.now
		if vals["time"] != "" {
			at = seconds("time")
		}
		e := Exit{Rank: num("rank"), PID: 100 + num("rank"), Code: num("code"),
			Signal: syscall.Signal(num("signal")), At: start.Add(at), Message: strings.ReplaceAll(vals["message"], "_", " "),
			Victim: vals["victim"] != "", Killed: vals["killed"] != "", Frozen: vals["frozen"] != ""}
		if vals["stderr"] != "" {
			e.Tail = []string{vals["stderr"]}
		}
		return Exited{Node: node, Attempt: num("attempt"), Exit: e}
	case "stopped":
		return Stopped{node, num("attempt")}
	case "saving":
		return Saving{node, num("attempt")}
	case "lost":
		return Lost{node, "connection closed"}
	case "fault":
		return Fault{node, 127, "no such program"}
	case "signal":
		return Signal{node, syscall.Signal(num("number"))}
	case "pause":
		return Paused{seconds("for")}
	case "tick":
		return Tick{}
	}
	t.Fatalf("%s: unknown event %q", pos, words[0])
	return nil
}

func show(a Action) string {
	switch a := a.(type) {
	case Start:
		nodes := slices.SortedFunc(maps.Keys(a.Worlds), func(m, n string) int { return cmp.Compare(a.Worlds[m].GroupRank, a.Worlds[n].GroupRank) })
		s := fmt.Sprintf("start attempt %d, world %d:", a.Attempt, a.Worlds[nodes[0]].WorldSize)
		for _, n := range nodes {
			w := a.Worlds[n]
			s += fmt.Sprintf(" %s=node %d ranks %d-%d", n, w.GroupRank, w.FirstRank, w.FirstRank+w.LocalWorldSize-1)
		}
		return s + "\n"
	case Stop:
		return fmt.Sprintf("stop attempt %d by %s, grace %v: %s\n", a.Attempt, SignalName(a.Signal), a.Grace, a.Cause)
	case Reject:
		return fmt.Sprintf("reject %s: %s\n", a.Node, a.Why)
	case Say:
		return fmt.Sprintf("say: %s\n", a.Text)
	case Finish:
		s := fmt.Sprintf("finish with code %d\n", a.Code)
		for _, l := range a.Report {
			s += "  " + l + "\n"
		}
		return s
	}
	return fmt.Sprintf("%T\n", a)
}
