// SPDX-License-Identifier: Apache-2.0

// Command allreduce is the smallest program with ranks: each finds its place,
// meets the others, and adds its one to theirs.
//
//	go build -o bin/ ./examples/allreduce
//	go run ./cmd/octet run --nproc-per-node 4 bin/allreduce
//
// torchrun starts it as well (with OCTET_JOB_TOKEN, by which the ranks know each
// other), and alone it is a job of one rank.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/launcher"
)

func main() {
	if err := run(context.Background(), os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "allreduce:", err)
		os.Exit(1)
	}
}

// run is one rank's work; rank 0 prints the sum.
func run(ctx context.Context, getenv func(string) string, out io.Writer) (err error) {
	const timeout = time.Minute
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	place, err := launcher.FromEnv(getenv)
	if err != nil {
		return err
	}
	rank, err := backend.Open(ctx, place, backend.Options{Timeout: timeout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rank.Close()) }()

	stream := rank.Device.NewStream("main")
	one := device.NewPool(rank.Device).New(dtype.Float32, 1)
	sum := make([]float32, 1)
	stream.Upload(one, device.Float32Bytes([]float32{1}))
	rank.World.AllReduce(stream, comm.T(one), comm.Sum)
	stream.Download(device.Float32Bytes(sum), one)
	if err := stream.Sync(); err != nil {
		return err
	}
	if sum[0] != float32(place.WorldSize) {
		return fmt.Errorf("rank %d: the sum of %d ones is %v", place.Rank, place.WorldSize, sum[0])
	}
	if place.Rank == 0 {
		fmt.Fprintf(out, "%d ranks, sum %v\n", place.WorldSize, sum[0])
	}
	return nil
}
