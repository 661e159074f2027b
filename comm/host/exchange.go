// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// key is where in the store a rank's value of an exchange is.
func (n *node) key(name string, rank int) string {
	return fmt.Sprintf("comm/%s/%s/%d", n.cfg.RunID, name, rank)
}

// Exchange implements group.Net over the store.
func (n *node) Exchange(ctx context.Context, name string, members []int, value []byte) ([][]byte, error) {
	start := time.Now()
	if err := n.cfg.Store.Set(ctx, n.key(name, n.cfg.Rank), value); err != nil {
		return nil, err
	}
	all := make([][]byte, len(members))
	for i, r := range members {
		v, err := n.cfg.Store.Get(ctx, n.key(name, r))
		if ctx.Err() != nil {
			return nil, n.absent(ctx, name, members[i:], time.Since(start))
		}
		if err != nil {
			return nil, err
		}
		all[i] = v
	}
	return all, nil
}

// absent names the members without a value when the time was over.
func (n *node) absent(ctx context.Context, name string, members []int, waited time.Duration) error {
	if err := n.job.Cause(); err != nil {
		return err
	}
	var late []int
	for _, r := range members {
		brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Millisecond)
		if _, err := n.cfg.Store.Get(brief, n.key(name, r)); err != nil {
			late = append(late, r)
		}
		cancel()
	}
	waited = waited.Round(100 * time.Millisecond)
	if len(late) == 0 {
		return fmt.Errorf("%w after %v", ctx.Err(), waited)
	}
	slices.Sort(late)
	who, have := "rank", "has"
	if len(late) > 1 {
		who, have = "ranks", "have"
	}
	return fmt.Errorf("%s %s %s not arrived after %v", who, strings.Trim(strings.ReplaceAll(fmt.Sprint(late), " ", ", "), "[]"), have, waited)
}
