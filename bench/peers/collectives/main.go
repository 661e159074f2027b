// SPDX-License-Identifier: Apache-2.0

// Command collectives is octet's side of collectives.py: a rank that measures
// collectives of float32 with the others, over TCP, as between hosts, or through
// shared memory. Rank 0 prints one JSON line a figure.
//
//	go build -o bin/ ./bench/peers/collectives
//	go run ./cmd/octet run --nproc-per-node 2 bin/collectives tcp
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/launcher"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "collectives:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) != 1 || args[0] != "tcp" && args[0] != "shared memory" {
		return fmt.Errorf("usage: collectives tcp, or collectives 'shared memory'; it was given %q", args)
	}
	place, err := launcher.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	o := backend.Options{}
	if args[0] == "tcp" {
		o.HostID = fmt.Sprint("host of rank ", place.Rank)
	}
	rank, err := backend.Open(ctx, place, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rank.Close()) }()
	b := &bench{
		world: rank.World, pool: device.NewPool(rank.Device), stream: rank.Device.NewStream("bench"), out: json.NewEncoder(os.Stdout), by: args[0],
	}
	for _, size := range []int{1 << 20, 64 << 20} {
		if err := b.collectives(size); err != nil {
			return err
		}
	}
	return nil
}

// bench is what the measurements share.
type bench struct {
	world  comm.Comm
	pool   *device.Pool
	stream device.Stream
	out    *json.Encoder
	by     string
}

// collectives measures those of whole tensors of so many bytes.
func (b *bench) collectives(bytes int) error {
	whole := comm.T(b.pool.New(dtype.Float32, bytes/4))
	shard := comm.T(b.pool.New(dtype.Float32, bytes/4/b.world.Size()))
	b.stream.Zero(whole[0])
	b.stream.Zero(shard[0])
	for _, c := range []struct {
		name string
		call func()
	}{
		{"all-gather", func() { b.world.AllGather(b.stream, whole, shard) }},
		{"reduce-scatter", func() { b.world.ReduceScatter(b.stream, shard, whole, comm.Sum) }},
		{"all-reduce", func() { b.world.AllReduce(b.stream, whole, comm.Sum) }},
	} {
		best, err := b.shortest(max(8, 64<<20/bytes), c.call)
		if err != nil {
			return err
		}
		if b.world.Rank() != 0 {
			continue
		}
		op := fmt.Sprintf("%s, %d MiB, %d ranks", c.name, bytes>>20, b.world.Size())
		if err := b.out.Encode(map[string]any{"op": op, "by": b.by, "ms": best.Seconds() * 1e3}); err != nil {
			return err
		}
	}
	return nil
}

// shortest is the shortest of so many calls, each from a barrier on, after two that
// warm up.
func (b *bench) shortest(calls int, call func()) (best time.Duration, err error) {
	best = time.Duration(1<<63 - 1)
	for i := range calls + 2 {
		b.world.Barrier(b.stream)
		if err := b.stream.Sync(); err != nil {
			return 0, err
		}
		start := time.Now()
		call()
		if err := b.stream.Sync(); err != nil {
			return 0, err
		}
		if took := time.Since(start); i > 1 {
			best = min(best, took)
		}
	}
	return best, nil
}
