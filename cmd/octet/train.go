// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"strings"

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
	read, prepared := readBefore()
	cfg, err := config.Load(args, read...)
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
	memory, err := backend.Memory("", place.LocalWorld)
	if err != nil {
		return err
	}
	if err := train.Check(cfg, place.World, place.LocalWorld, memory); err != nil {
		return err
	}
	if place.Local == 0 && !prepared {
		if err := train.Scan(cfg, say); err != nil {
			return err
		}
	}
	return blame(trainRank(ctx, cfg, place), place.Global)
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

// configVar is the variable by which octet run gives its ranks the configuration
// that it has read and checked: the path, a newline, and the text of the file;
// nothing where there is no file.
const configVar = "OCTET_CONFIG"

// prepareTrain is what octet run asks before it starts ranks of `octet train`
// with these arguments.
func prepareTrain(args []string, world, local int) (prepared, error) {
	cfg, err := config.Load(args)
	if err != nil {
		return prepared{}, err
	}
	memory, err := backend.Memory("", local)
	if err != nil {
		return prepared{}, err
	}
	if err := train.Check(cfg, world, local, memory); err != nil {
		return prepared{}, err
	}
	if err := metrics.CheckFolder(cfg.Job.DumpFolder); err != nil {
		return prepared{}, err
	}
	if err := train.Scan(cfg, say); err != nil {
		return prepared{}, err
	}
	text := ""
	if file, ok := cfg.File(); ok {
		text = file.Path + "\n" + file.Text
	}
	return prepared{
		environ: []string{configVar + "=" + text},
		check:   func(world int) error { return train.CheckWorld(cfg, world, local, memory) },
	}, nil
}

// readBefore is the configuration file that octet run has read for this rank, if
// there is one, and whether octet run has prepared it at all.
func readBefore() (files []config.File, prepared bool) {
	text, prepared := os.LookupEnv(configVar)
	if path, text, ok := strings.Cut(text, "\n"); ok {
		files = []config.File{{Path: path, Text: text}}
	}
	return files, prepared
}

func trainRank(ctx context.Context, cfg *config.Config, place launcher.Place) (err error) {
	bar := newBar(cfg, place)
	log := metrics.NewLogger(bar, place.Global)
	rank, err := openRank(ctx, cfg, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rank.Close()) }()
	job := train.Job{Config: cfg, Device: rank.Device, World: rank.World, Log: log}
	if place.Global == 0 { // the rank that speaks, and reports mfu
		if rank.Device.Warning != "" {
			log.Warn(rank.Device.Warning)
		}
		job.PeakFLOPS = peak(cfg, rank.Device)
	}
	sink, err := output(job, place, bar)
	if err != nil {
		rank.World.Abort(err)
		return err
	}
	return errors.Join(train.Run(ctx, job, sink), sink.Close())
}
