// SPDX-License-Identifier: Apache-2.0

// Package host connects ranks that are processes: through shared memory on
// one host, through TCP between hosts, and both in one job. comm/local is for
// ranks that are goroutines.
//
//	c, err := host.Connect(ctx, host.Config{
//		Rank: rank, World: world, RunID: "0",
//		Store:   client,                // comm/store at MASTER_ADDR:MASTER_PORT
//		Timeout: 300 * time.Second,
//	})
//	defer c.(comm.Control).Close()
//	c.AllReduce(stream, comm.T(grad), comm.Sum)
//
// Ranks share a host if they have the same kernel and namespace of processes;
// they find out through the store. A peer that dies is named
// within a fraction of a second, one that stops answering at the deadline.
// Hosts send each byte once to each other, however many ranks they have
// (comm/internal/group, hosts.go).
// Both ends of a connection between hosts prove that they know the job's secret
// (package auth); what they send is not encrypted.
package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
	"octet/internal/arena"
	"octet/internal/auth"
)

// Store is the key-value store that ranks meet in; comm/store implements it.
type Store interface {
	Set(ctx context.Context, key string, value []byte) error
	// Get waits until the key is present.
	Get(ctx context.Context, key string) ([]byte, error)
}

// Config is one rank's part in a job.
type Config struct {
	Rank, World int
	// Store is used by Connect and by Split and stays the caller's.
	Store Store
	// RunID tells jobs and restarts that share a store apart.
	RunID string
	// Secret is known to the ranks of the job alone; launcher.Place has it. It is
	// needed where ranks are on several hosts.
	Secret auth.Secret
	// Timeout of any wait, those of Connect included; 0 is five minutes.
	Timeout time.Duration
	// HostID: ranks of equal HostID use shared memory, others TCP. Empty means
	// find out.
	HostID string
	// Address is the name or IP address under which other hosts reach this
	// one. launcher.Place knows it. Empty means the first address of this host
	// that is not loopback.
	Address string
	// Source is the IP address that connections to other hosts are made from, as
	// the operator wants it. Empty, or a name: the way to them decides.
	Source string
	// Arena is the memory of this rank's device, which others of the host may read; it must stay open as long as the
	// communicator. Where each rank of a host has one and can read all, larger messages are read where they are; otherwise, as
	// where it is nil, they are copied into memory that the ranks share.
	Arena *arena.Arena
	// ChunkBytes is the size of a message of the pipeline; all ranks must have
	// the same. 0 is what fits the link of each group: 256 KiB between hosts, and up to
	// 2 MiB within one. A group holds four in memory per rank of a host.
	ChunkBytes int
}

// Messages of a pipeline. Over TCP small ones stay in the cache, from where the kernel
// copies them. In shared memory each is a wait of the ranks for one another, so they are
// as large as the second cache, and smaller where many ranks would fill the memory.
const (
	wireChunk  = 256 << 10
	sharedMost = 2 << 20
	sharedRoom = 32 << 20 // of all messages of a group
)

// chunkFor is the size of a message in a group of members, of whom here are on this host.
// It is the same on all of them.
func (c *Config) chunkFor(members, here int) int {
	switch {
	case c.ChunkBytes > 0:
		return c.ChunkBytes
	case here < members:
		return wireChunk
	}
	return max(wireChunk, min(sharedMost, sharedRoom/group.Depth/here/group.Align*group.Align))
}

func (c *Config) check() error {
	switch {
	case c.World < 1:
		return fmt.Errorf("world size %d: it must be at least 1", c.World)
	case c.Rank < 0 || c.Rank >= c.World:
		return fmt.Errorf("rank %d is not in 0..%d, the world size being %d", c.Rank, c.World-1, c.World)
	case c.Store == nil:
		return errors.New("no store")
	case c.ChunkBytes < 0 || c.ChunkBytes%group.Align != 0:
		return fmt.Errorf("ChunkBytes %d is not a multiple of %d", c.ChunkBytes, group.Align)
	}
	return nil
}

// Connect joins the ranks of a job and returns this rank's communicator, which
// implements comm.Control. It returns when all ranks have come, or with an
// error that names those that have not.
func Connect(ctx context.Context, cfg Config) (comm.Comm, error) {
	return connect(ctx, cfg, func(ctx context.Context, n *node, c *group.Control) (comm.Comm, error) {
		link, err := n.Link(ctx, c.Name(), n.everyone())
		if err != nil {
			return nil, err
		}
		world := group.New(c, link)
		if err := world.JoinHosts(ctx); err != nil {
			return nil, errors.Join(err, link.Close())
		}
		return world, nil
	})
}

// Control is Connect without the data: for ranks whose tensors go another way.
func Control(ctx context.Context, cfg Config) (comm.ControlGroup, error) {
	return connect(ctx, cfg, func(_ context.Context, _ *node, c *group.Control) (comm.ControlGroup, error) { return c, nil })
}

// connect meets the other ranks and has open make what a rank is given.
func connect[T any](ctx context.Context, cfg Config, open func(context.Context, *node, *group.Control) (T, error)) (world T, err error) {
	if err := cfg.check(); err != nil {
		return world, fmt.Errorf("comm: connect: %w", err)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = group.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	n := newNode(cfg)
	if err = n.join(ctx); err == nil {
		world, err = open(ctx, n, group.NewControl("world", cfg.Rank, cfg.World, n, n.job))
	}
	if err != nil {
		n.Close()
		return world, fmt.Errorf("comm: connect: rank %d of %d: %w", cfg.Rank, cfg.World, err)
	}
	return world, nil
}
