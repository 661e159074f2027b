// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"octet/comm/internal/group"
)

// key is where in the store a rank's value of an exchange is.
func (n *node) key(name string, rank int) string {
	return fmt.Sprintf("comm/%s/%s/%d", n.cfg.RunID, name, rank)
}

// Exchange implements group.Net over the store.
func (n *node) Exchange(ctx context.Context, name string, members []int, value []byte) ([][]byte, error) {
	deadline, _ := ctx.Deadline()
	patience := time.Until(deadline).Round(100 * time.Millisecond)
	if err := n.cfg.Store.Set(ctx, n.key(name, n.cfg.Rank), value); err != nil {
		return nil, err
	}
	all := make([][]byte, len(members))
	for i, r := range members {
		v, err := n.cfg.Store.Get(ctx, n.key(name, r))
		if ctx.Err() != nil {
			return nil, n.absent(ctx, name, members[i:], patience)
		}
		if err != nil {
			return nil, err
		}
		all[i] = v
	}
	return all, nil
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
		return fmt.Errorf("%w after %v", ctx.Err(), patience)
	}
	return group.Missing(late, fmt.Sprintf("not arrived after %v", patience))
}
