// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"octet/backend"
	"octet/config"
	"octet/internal/auth"
	"octet/launcher"
)

// openRank opens the device of a training rank and meets the others.
func openRank(ctx context.Context, cfg *config.Config, place launcher.Place) (*backend.Rank, error) {
	threads, err := threadsPerRank(place.LocalWorldSize)
	if err != nil {
		return nil, err
	}
	if cfg.Comm.Insecure && place.Secret.IsZero() {
		place.Secret = auth.Public()
	}
	rank, err := backend.Open(ctx, place, backend.Options{
		Device: cfg.Device.Name, Threads: threads, Timeout: time.Duration(cfg.Comm.InitTimeoutSeconds) * time.Second,
		Dump: cfg.Job.DumpFolder, Fatal: func(cause error) { os.Exit(report(nil, blame(cause, place.Rank))) },
	})
	if errors.Is(err, launcher.ErrNoToken) {
		err = fmt.Errorf("%w; or let anyone join, with comm.insecure = true", err)
	}
	return rank, err
}

// deviceMemory is the bytes that are free for the local ranks of this host together, of so many
// in the world. Its error is why they cannot have the devices that the configuration asks for.
func deviceMemory(cfg *config.Config, world, local int) (int64, error) {
	memory, err := backend.Memory(cfg.Device.Name, local)
	if err == nil {
		err = backend.CheckComm(cfg.Device.Name, world)
	}
	if err != nil {
		return 0, fmt.Errorf("device.name = %q: %w", cfg.Device.Name, err)
	}
	if cfg.Float8Enabled() && !cfg.Quantize.Linear.Float8.Emulate {
		err = backend.CheckFloat8(cfg.Device.Name, local)
	}
	return memory, err
}

// mostThreads is the most that a rank may be asked to have: Go ends a program of 10,000.
const mostThreads = 4096

// checkThreads refuses what --threads cannot be.
func checkThreads(n int) error {
	if n < 1 || n > mostThreads {
		return fmt.Errorf("--threads %d: want 1 to %d", n, mostThreads)
	}
	return nil
}

// threadsPerRank is OMP_NUM_THREADS, or this rank's part of the cores.
func threadsPerRank(localWorld int) (int, error) {
	if v := os.Getenv("OMP_NUM_THREADS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > mostThreads {
			return 0, fmt.Errorf("OMP_NUM_THREADS=%q: want a number of threads, 1 to %d", v, mostThreads)
		}
		return n, nil
	}
	return max(1, runtime.NumCPU()/localWorld), nil
}
