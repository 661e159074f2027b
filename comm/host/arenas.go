// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"

	"octet/internal/arena"
)

// lendingRanks is how many ranks of a host map each other's memory at most: each takes as many addresses as the machine
// has memory, and ranks in such numbers have little to say.
const lendingRanks = 64

// mapArenas maps the memory of the other ranks of this host, if all have an arena and all can read those of all. Otherwise
// messages are copied.
func (n *node) mapArenas(ctx context.Context) error {
	if len(n.locals) > lendingRanks {
		return nil
	}
	var mine arena.ID // of no bytes: there is none
	if n.cfg.Arena != nil {
		mine = n.cfg.Arena.ID()
	}
	value, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	all, err := n.Exchange(ctx, "arena", n.locals, value)
	if err != nil {
		return err
	}
	maps, problem := make([]*arena.Map, n.cfg.World), ""
	for i, r := range n.locals {
		var id arena.ID
		if err = json.Unmarshal(all[i], &id); err == nil && r != n.cfg.Rank {
			maps[r], err = arena.Open(id)
		}
		if err != nil {
			problem = err.Error()
			break
		}
	}
	said, err := n.Exchange(ctx, "arena/mapped", n.locals, []byte(problem))
	for i := 0; err == nil && i < len(said); i++ {
		if len(said[i]) > 0 {
			return closeMaps(maps) // who cannot read has to be given copies, and so have all
		}
	}
	if err != nil {
		return errors.Join(err, closeMaps(maps))
	}
	n.maps = maps
	return nil
}

func closeMaps(maps []*arena.Map) error {
	var errs []error
	for _, m := range maps {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
