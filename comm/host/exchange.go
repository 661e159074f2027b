// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"octet/comm"
)

// key is where in the store a rank's value of an exchange is.
func (n *node) key(name string, rank int) string {
	return fmt.Sprintf("comm/%s/%s/%d", n.cfg.RunID, name, rank)
}

// Exchange implements group.Net over the store. The first member collects the
// values and passes all of them on at once, so that the store has a few requests a
// member to answer, however many there are.
func (n *node) Exchange(ctx context.Context, name string, members []int, value []byte) ([][]byte, error) {
	deadline, _ := ctx.Deadline()
	patience := time.Until(deadline).Round(100 * time.Millisecond)
	all, err := n.collect(ctx, name, members, value)
	if ctx.Err() != nil {
		return nil, n.absent(ctx, name, members, patience)
	}
	if err == nil && len(all) != len(members) {
		err = fmt.Errorf("rank %d knows %d members of %q, this rank %d", members[0], len(all), name, len(members))
	}
	return all, err
}

func (n *node) collect(ctx context.Context, name string, members []int, value []byte) (all [][]byte, err error) {
	if slices.Contains(members, n.cfg.Rank) {
		if err := n.cfg.Store.Set(ctx, n.key(name, n.cfg.Rank), value); err != nil {
			return nil, err
		}
	}
	// Hosts exchange under the same names; who leads is the host's own.
	together := n.key(name+"/all", members[0])
	if members[0] != n.cfg.Rank {
		text, err := n.cfg.Store.Get(ctx, together)
		if err != nil {
			return nil, err
		}
		return all, json.Unmarshal(text, &all)
	}
	all = make([][]byte, len(members))
	for i, r := range members {
		if all[i], err = n.cfg.Store.Get(ctx, n.key(name, r)); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	return all, n.cfg.Store.Set(ctx, together, text)
}

// absent names the members without a value when the time was over.
func (n *node) absent(ctx context.Context, name string, members []int, patience time.Duration) error {
	if err := n.job.Cause(); err != nil {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	var late []int
	for _, r := range members {
		brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Millisecond)
		if _, err := n.cfg.Store.Get(brief, n.key(name, r)); err != nil {
			late = append(late, r)
		}
		cancel()
	}
	if len(late) == 0 {
		return comm.Missing(members[:1], fmt.Sprintf("not passed on what all have said after %v", patience))
	}
	return comm.Missing(late, fmt.Sprintf("not arrived after %v", patience))
}
