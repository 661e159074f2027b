// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"octet/comm"
)

// recent is how many calls of each group a rank tells, for others to compare.
const recent = 8

// progress is how far a rank has come with a group.
type progress struct {
	Group    string
	Members  []int       // ranks of the world
	Started  uint64      // sequence number of the last call that its stream has come to
	Finished uint64      // and of the last that has ended
	Call     string      // the one that it is in, if any
	Recent   []comm.Call // the last few, ended or not
}

// answer is what this rank says to Ask: its groups' progress.
func (j *job) answer() []byte {
	by := map[*Comm]*progress{}
	all := []*progress{}
	j.record.look(time.Now(), func(e *entry) {
		p := by[e.comm]
		if p == nil {
			p = e.comm.progress(e.sig.Seq - 1)
			by[e.comm], all = p, append(all, p)
		}
		if e.state == started {
			p.Started, p.Call = e.sig.Seq, e.sig.Title(e.comm.Name())
		}
	})
	j.mu.Lock()
	for _, c := range j.comms {
		if by[c] == nil && c.mu.TryLock() { // nothing is under way
			by[c] = c.progress(c.seq)
			all = append(all, by[c])
			c.mu.Unlock()
		}
	}
	j.mu.Unlock()
	j.record.recent(func(e *entry) {
		if p := by[e.comm]; p != nil && len(p.Recent) < recent {
			p.Recent = append(p.Recent, e.sig)
		}
	})
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // of numbers and names
	}
	return text
}

// progress is that of a group of which so many calls have ended, and no other has begun.
func (c *Comm) progress(ended uint64) *progress {
	p := &progress{Group: c.id, Started: ended, Finished: ended}
	for q := range c.Size() {
		p.Members = append(p.Members, c.World(q))
	}
	return p
}

// missing asks the ranks of the group and says which of them keep a call from ending, or whom those wait for in another group.
func (c *Comm) missing(sig *comm.Call, timeout time.Duration) error {
	var silent, behind, unfinished, arrived []int
	for q, text := range c.Ask(askPatience) {
		rank := c.World(q)
		if text == nil {
			silent = append(silent, rank)
			continue
		}
		p := said(text).of(c.id)
		for _, its := range p.Recent {
			if its.Seq == sig.Seq && its != *sig {
				return comm.Mismatch(c.World(c.Rank()), sig, rank, &its)
			}
		}
		if p.Started < sig.Seq {
			behind = append(behind, rank)
			continue
		}
		arrived = append(arrived, rank)
		if p.Finished < sig.Seq {
			unfinished = append(unfinished, rank)
		}
	}
	switch {
	case len(silent) > 0:
		return comm.Missing(silent, fmt.Sprintf("not answered after %v; arrived: %s", timeout, comm.List(arrived)))
	case len(behind) > 0:
		named, way := behindThem(behind, c.World(c.Rank()), c.job.standing())
		arrived = slices.DeleteFunc(arrived, func(r int) bool { return slices.Contains(named, r) })
		return comm.Missing(named, fmt.Sprintf("not arrived after %v%s; arrived: %s", timeout, way, comm.List(arrived)))
	}
	return comm.Missing(unfinished, fmt.Sprintf("stopped within the call after %v; arrived: %s", timeout, comm.List(arrived)))
}

// standing is how far all ranks of the job are with all groups; nil of one that does not answer.
func (j *job) standing() (all []groups) {
	for _, text := range j.control.Ask(askPatience) {
		all = append(all, said(text))
	}
	return all
}

// groups are what a rank answers.
type groups []progress

// said is an answer; nothing: the rank has given none.
func said(text []byte) (all groups) {
	if json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}

// of is the progress with a group; nothing: the rank has made no call.
func (g groups) of(group string) progress {
	for _, p := range g {
		if p.Group == group {
			return p
		}
	}
	return progress{Group: group}
}

// waits are those of a rank: of each call that it is in, for the members of the group that have not come.
func waits(rank int, standing []groups) (all []comm.Wait) {
	for _, p := range standing[rank] {
		if p.Started <= p.Finished {
			continue
		}
		for _, m := range p.Members {
			if m >= 0 && m < len(standing) && m != rank && standing[m].of(p.Group).Started < p.Started {
				all = append(all, comm.Wait{Call: p.Call, For: m})
			}
		}
	}
	return all
}

// behindThem looks up whom they wait for (comm.Follow).
func behindThem(ranks []int, self int, standing []groups) (culprits []int, way string) {
	return comm.Follow(ranks, self, len(standing), func(asked []int) (all [][]comm.Wait) {
		for _, rank := range asked {
			all = append(all, waits(rank, standing))
		}
		return all
	})
}
