// SPDX-License-Identifier: Apache-2.0

package group

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"octet/comm"
)

// Control is a comm.ControlGroup over a Net.
type Control struct {
	net     Net
	job     *Job
	waits   *waits // of all groups of this rank
	members []int  // ranks of the world
	me      int    // this one's place among them
	id      string
	root    bool // of all ranks: closes the net
	name    atomic.Pointer[string]

	mu        sync.Mutex
	splits    int
	exchanges int
	kids      []io.Closer
}

var _ comm.ControlGroup = (*Control)(nil)

// NewControl makes the control group of the n ranks of a job, of which this is one.
func NewControl(name string, rank, n int, net Net, job *Job) *Control {
	members := make([]int, n)
	for r := range members {
		members[r] = r
	}
	c := newControl(name, members, rank, net, job, &waits{world: n})
	c.root = true
	net.Answer(c.waits.answer)
	return c
}

func newControl(id string, members []int, rank int, net Net, job *Job, w *waits) *Control {
	c := &Control{net: net, job: job, waits: w, members: members, me: slices.Index(members, rank), id: id}
	c.SetName(id)
	return c
}

// Rank is this rank in the group.
func (c *Control) Rank() int { return c.me }

// Size is the number of ranks.
func (c *Control) Size() int { return len(c.members) }

// World is the number of rank q in the world.
func (c *Control) World(q int) int { return c.members[q] }

// self is this rank in the world.
func (c *Control) self() int { return c.members[c.me] }

// Name is what errors call the group.
func (c *Control) Name() string { return *c.name.Load() }

// SetName changes it.
func (c *Control) SetName(name string) { c.name.Store(&name) }

// Timeout is the deadline of every wait in the job on this rank.
func (c *Control) Timeout() time.Duration { return c.job.Timeout() }

// SetTimeout changes it.
func (c *Control) SetTimeout(d time.Duration) { c.job.SetTimeout(d) }

// Abort ends the whole job.
func (c *Control) Abort(cause error) { c.job.Abort(c.self(), cause) }

// Done is closed when the job is aborted.
func (c *Control) Done() <-chan struct{} { return c.job.Done() }

// Cause is why the job was aborted; nil: it was not.
func (c *Control) Cause() error { return c.job.Cause() }

// Answer sets what this rank answers.
func (c *Control) Answer(with func() []byte) { c.net.Answer(with) }

// Ask asks all ranks of the group.
func (c *Control) Ask(patience time.Duration) [][]byte { return c.net.Ask(c.members, patience) }

// Exchange implements comm.ControlGroup.
func (c *Control) Exchange(what string, value []byte) ([][]byte, error) {
	c.mu.Lock()
	n := c.exchanges
	c.exchanges++
	c.mu.Unlock()
	ctx, cancel := c.job.Deadline()
	defer cancel()
	all, err := c.net.Exchange(ctx, fmt.Sprintf("%s %d", c.id, n), c.members, value)
	if err != nil {
		return nil, c.failed(what, err)
	}
	return all, nil
}

// failed ends the job with what went wrong in an agreement, unless it has ended.
func (c *Control) failed(what string, err error) error {
	if cause := c.job.Cause(); cause != nil {
		err = cause
	}
	err = fmt.Errorf("comm: %s of group %q: %w", what, c.Name(), err)
	if _, ok := errors.AsType[*comm.AbortError](err); !ok {
		c.job.Abort(c.self(), err)
	}
	return err
}

// Subgroup implements comm.ControlGroup.
func (c *Control) Subgroup(color, key int) (comm.ControlGroup, error) {
	var child *Control
	err := c.split(color, key, func(_ context.Context, made *Control) (io.Closer, error) {
		child = made
		return child, nil
	})
	if err != nil || child == nil {
		return nil, err
	}
	return child, nil
}

// split agrees on groups and, unless this rank is in none, has open make what its
// group is closed by.
func (c *Control) split(color, key int, open func(ctx context.Context, child *Control) (io.Closer, error)) error {
	c.mu.Lock()
	n := c.splits
	c.splits++
	c.mu.Unlock()
	ctx, cancel := c.job.Deadline()
	defer cancel()
	child, err := c.divide(ctx, fmt.Sprintf("%s/%d", c.id, n), color, key)
	if err == nil && child != nil {
		var kid io.Closer
		if kid, err = open(ctx, child); err == nil {
			c.mu.Lock()
			c.kids = append(c.kids, kid)
			c.mu.Unlock()
		}
	}
	if err != nil {
		return c.failed(fmt.Sprintf("split #%d", n+1), err)
	}
	return nil
}

// divide is the part of this rank's color; nil for a negative one.
func (c *Control) divide(ctx context.Context, id string, color, key int) (*Control, error) {
	var mine [16]byte
	binary.LittleEndian.PutUint64(mine[:], uint64(color))
	binary.LittleEndian.PutUint64(mine[8:], uint64(key))
	all, err := c.net.Exchange(ctx, id, c.members, mine[:])
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
		members[i] = c.members[m.rank]
	}
	return newControl(fmt.Sprintf("%s.%d", id, color), members, c.self(), c.net, c.job, c.waits), nil
}

// closeKids closes what was split from the group.
func (c *Control) closeKids() error {
	c.mu.Lock()
	kids := c.kids
	c.kids = nil
	c.mu.Unlock()
	var errs []error
	for _, k := range kids {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

// closeNet releases what the job holds, if the group is that of all ranks.
func (c *Control) closeNet() error {
	if !c.root {
		return nil
	}
	return c.net.Close()
}

// Close releases the group and those split from it.
func (c *Control) Close() error { return errors.Join(c.closeKids(), c.closeNet()) }
