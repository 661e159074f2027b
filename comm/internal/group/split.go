// SPDX-License-Identifier: Apache-2.0

package group

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"octet/comm"
)

// Split implements comm.Comm. It talks over the Net, so it does not wait for
// collectives in flight.
func (g *Group) Split(color, key int) (comm.Comm, error) {
	g.mu.Lock()
	n := g.splits
	g.splits++
	g.mu.Unlock()
	id := fmt.Sprintf("%s/%d", g.id, n)
	child, err := g.split(id, color, key)
	if err != nil {
		return nil, g.splitError(n, err)
	}
	if child == nil {
		return nil, nil
	}
	g.mu.Lock()
	g.kids = append(g.kids, child)
	g.mu.Unlock()
	return child, nil
}

func (g *Group) split(id string, color, key int) (*Group, error) {
	ctx, cancel := g.job.Deadline()
	defer cancel()
	var mine [16]byte
	binary.LittleEndian.PutUint64(mine[:], uint64(color))
	binary.LittleEndian.PutUint64(mine[8:], uint64(key))
	all, err := g.net.Exchange(ctx, id, g.members, mine[:])
	if err != nil || color < 0 {
		return nil, err
	}
	type member struct{ key, rank int }
	var chosen []member
	for q, v := range all {
		if int(binary.LittleEndian.Uint64(v)) == color {
			chosen = append(chosen, member{int(binary.LittleEndian.Uint64(v[8:])), q})
		}
	}
	slices.SortFunc(chosen, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.rank, b.rank))
	})
	members := make([]int, len(chosen))
	for i, m := range chosen {
		members[i] = g.members[m.rank]
	}
	id = fmt.Sprintf("%s.%d", id, color)
	link, err := g.net.Link(ctx, id, members)
	if err != nil {
		return nil, err
	}
	child := newGroup(id, members, link, g.net, g.job)
	if err := child.JoinHosts(ctx); err != nil {
		return nil, errors.Join(err, link.Close())
	}
	return child, nil
}

func (g *Group) splitError(n int, err error) error {
	if cause := g.job.Cause(); cause != nil {
		err = cause
	}
	err = fmt.Errorf("comm: split #%d of group %q: %w", n+1, g.Name(), err)
	if _, ok := errors.AsType[*comm.AbortError](err); !ok {
		g.job.Abort(g.self(), err)
	}
	return err
}
