// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"

	"octet/backend"
	"octet/comm"
	"octet/config"
	"octet/launcher"
	"octet/metrics"
	"octet/train"
)

// runTrain is `octet train`: one rank of a job. Its place comes from the
// environment that octet run, torchrun or Slurm made; without one it is a job of
// its own.
func runTrain(ctx context.Context, args []string) error {
	given, prepared, err := fromLauncher()
	if err != nil {
		return err
	}
	cfg, err := config.Load(args, given.file())
	if errors.Is(err, config.ErrHelp) {
		return config.Help(os.Stdout)
	}
	if err != nil {
		return err
	}
	place, err := launcher.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	memory, err := backend.Memory("", place.LocalWorldSize)
	if err != nil {
		return err
	}
	if err := train.Check(cfg, place.WorldSize, place.LocalWorldSize, memory); err != nil {
		return err
	}
	if place.LocalRank == 0 && !prepared {
		if err := train.Scan(cfg, say); err != nil {
			return err
		}
	}
	contents, err := compared(cfg, place, given)
	if err != nil {
		return err
	}
	return blame(trainRank(ctx, cfg, place, contents), place.Rank)
}

// blame marks an error that another rank is the cause of, so that the launcher
// looks further for the first to fail.
func blame(err error, rank int) error {
	aborted, ok := errors.AsType[*comm.AbortError](err)
	_, peer := errors.AsType[*comm.PeerError](err)
	if peer || ok && aborted.Rank != rank {
		return launcher.Victim(err)
	}
	return err
}

func trainRank(ctx context.Context, cfg *config.Config, place launcher.Place, contents map[string]string) (err error) {
	bar := newBar(cfg, place)
	log := metrics.NewLogger(bar, place.Rank)
	rank, err := openRank(ctx, cfg, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rank.Close()) }()
	defer func() {
		if err != nil { // so that no other rank waits for this one
			rank.World.Abort(err)
		}
	}()
	if err := agreed(cfg, rank, contents); err != nil {
		return err
	}
	job := train.Job{Config: cfg, Device: rank.Device, World: rank.World, Log: log}
	if place.Rank == 0 { // the rank that speaks, and reports mfu
		if rank.Device.Warning != "" {
			log.Warn(rank.Device.Warning)
		}
		job.PeakFLOPS = peak(cfg, rank.Device)
	}
	sink, err := output(job, place, bar)
	if err != nil {
		return err
	}
	return errors.Join(train.Run(ctx, job, sink), sink.Close())
}
