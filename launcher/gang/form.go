// SPDX-License-Identifier: Apache-2.0

package gang

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxLocalWorldSize bounds the ranks of a node.
const maxLocalWorldSize = 1 << 16

func (g *Gang) join(now time.Time, j Join) {
	if why := g.refuse(j); why != "" {
		g.out = append(g.out, Reject{j.Node, why})
		return
	}
	g.nodes = append(g.nodes, &node{Join: j, seen: now})
}

// refuse says why j cannot join now, or "".
func (g *Gang) refuse(j Join) string {
	if g.state != Forming {
		return fmt.Sprintf("the gang is complete: all %d nodes have joined", g.cfg.Nodes)
	}
	switch {
	case g.node(j.Node) != nil:
		return "it has joined already"
	case j.LocalWorldSize < 1 || j.LocalWorldSize > maxLocalWorldSize:
		return fmt.Sprintf("it offers %d ranks: want 1 to %d", j.LocalWorldSize, maxLocalWorldSize)
	case j.NodeRank < -1:
		return fmt.Sprintf("--node-rank %d: want 0 to %d", j.NodeRank, g.cfg.Nodes-1)
	case j.NodeRank >= g.cfg.Nodes:
		return fmt.Sprintf("--node-rank %d: with --nnodes %d it must be less", j.NodeRank, g.cfg.Nodes)
	}
	if why := g.differs(j); why != "" {
		return why
	}
	for _, n := range g.nodes {
		if (j.NodeRank < 0) != (n.NodeRank < 0) {
			return "some nodes have a --node-rank and some have none: use the same --rdzv-backend on all"
		}
		if j.NodeRank >= 0 && n.NodeRank == j.NodeRank {
			return fmt.Sprintf("--node-rank %d: host %s (%s) has joined with it already", j.NodeRank, n.Host, n.Addr)
		}
	}
	if len(g.nodes) == g.cfg.Nodes {
		return fmt.Sprintf("all %d nodes have joined", g.cfg.Nodes)
	}
	return ""
}

// differs names the first thing that j was asked for and the coordinator was not,
// or "".
func (g *Gang) differs(j Join) string {
	theirs := map[string]string{}
	for _, a := range j.Asked {
		theirs[a.Key] = a.Value
	}
	for _, a := range g.cfg.Asked {
		if v := theirs[a.Key]; v != a.Value {
			return fmt.Sprintf("%s is %s on host %s, but %s on host %s: start all hosts alike", a.Key, v, j.Host, a.Value, g.cfg.Host)
		}
	}
	return ""
}

// form starts the gang if it is complete, gives up after JoinTimeout, and says
// from time to time who is missing.
func (g *Gang) form(now time.Time) {
	if len(g.nodes) == g.cfg.Nodes {
		if !now.Before(g.notBefore) {
			g.start(now)
		}
		return
	}
	if !now.Before(g.since.Add(g.cfg.JoinTimeout)) {
		g.fail(now, failure{at: now, code: 1, what: "rendezvous", why: g.waiting(now)})
		return
	}
	if !now.Before(g.nextSay) {
		g.out = append(g.out, Say{g.waiting(now)})
		g.nextSay = now.Add(sayEvery)
	}
}

// waiting is as "waiting for 1 of 3 nodes (have: a, b; need --node-rank 2), 5s of
// 10m0s".
func (g *Gang) waiting(now time.Time) string {
	have := "have: nobody"
	if len(g.nodes) > 0 {
		hosts := make([]string, len(g.nodes))
		for i, n := range g.nodes {
			hosts[i] = n.Host
		}
		have = "have: " + strings.Join(hosts, ", ")
	}
	var need []string
	if slices.ContainsFunc(g.nodes, func(n *node) bool { return n.NodeRank >= 0 }) {
		for r := range g.cfg.Nodes {
			if !slices.ContainsFunc(g.nodes, func(n *node) bool { return n.NodeRank == r }) {
				need = append(need, fmt.Sprint(r))
			}
		}
		have += "; need --node-rank " + strings.Join(need, ", ")
	}
	return fmt.Sprintf("waiting for %d of %d nodes (%s), %v of %v", g.cfg.Nodes-len(g.nodes), g.cfg.Nodes,
		have, now.Sub(g.since).Round(time.Second), g.cfg.JoinTimeout)
}
