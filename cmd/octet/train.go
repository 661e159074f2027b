// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/config"
	"octet/launcher"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/train"
	"octet/train/preflight"
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
	if cfg.Debug.DryRun {
		if place.WorldSize > 1 || prepared {
			return errDryRun
		}
		return dryRun(os.Stdout, cfg)
	}
	memory, err := deviceMemory(cfg, place.WorldSize, place.LocalWorldSize)
	if err != nil {
		return err
	}
	run, err := preflight.Check(cfg, place.WorldSize, place.LocalWorldSize, memory)
	if err != nil {
		return err
	}
	if !prepared { // all of them: those that find another at work wait for it here, before any deadline between ranks begins
		if err := preflight.Prepare(run, say); err != nil {
			return err
		}
	}
	if place.LocalRank == 0 && !prepared {
		if err := preflight.Scan(run, say); err != nil {
			return err
		}
	}
	if given.Contents, err = known(run, place, given); err != nil {
		return err
	}
	contents, err := compared(run, place, given)
	if err != nil {
		return err
	}
	return blame(trainRank(ctx, run, place, given, contents), place.Rank)
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

func trainRank(ctx context.Context, run *plan.Run, place launcher.Place, given handed, contents map[string]string) (err error) {
	bar := newBar(run.Config, place)
	log := metrics.NewLogger(bar, place.Rank)
	rank, err := openRank(ctx, run.Config, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rank.Close()) }()
	defer func() {
		if err != nil { // so that no other rank waits for this one
			rank.World.Abort(err)
		}
	}()
	if err := agreed(run.Config, rank, contents); err != nil {
		return err
	}
	owner, err := ownerOf(place)
	if err != nil {
		return err
	}
	job := train.Job{Run: run, Device: rank.Device, World: rank.World, Log: log, GPU: rank.Device.Usage, Contents: given.Contents, ID: place.RunID, Owner: owner.Job}
	if c := run.Config.Checkpoint; c.Enable && !c.LoadOnly {
		job.Stop, job.Alive = stopSignal(place, time.Duration(run.Config.Comm.TrainTimeoutSeconds)*time.Second)
	}
	if place.Rank == 0 { // the rank that speaks, and reports mfu
		if rank.Device.Warning != "" {
			log.Warn(rank.Device.Warning)
		}
		job.PeakFLOPS = backend.Peak(run.Config, rank.Device.Peak)
	}
	sink, err := output(job, owner, bar)
	if err != nil {
		return err
	}
	return errors.Join(train.Run(ctx, job, sink), sink.Close())
}
