// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"octet/comm"
	"octet/comm/host"
	"octet/comm/local"
	"octet/config"
	"octet/device/cpu"
	"octet/internal/auth"
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
	if err := train.Check(cfg, place.World, place.LocalWorld); err != nil {
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
	if err := train.Check(cfg, world, local); err != nil {
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
		check:   func(world int) error { return train.CheckWorld(cfg, world, local) },
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

func trainRank(ctx context.Context, cfg *config.Config, place launcher.Place) error {
	bar := newBar(cfg, place)
	log := metrics.NewLogger(bar, place.Global)
	threads, err := threadsPerRank(place.LocalWorld)
	if err != nil {
		return err
	}
	dev, err := cpu.Open(cpu.Options{Threads: threads})
	if err != nil {
		return err
	}
	if portable, reason := dev.Portable(); portable && place.Global == 0 {
		log.Warn("the portable Go kernels run: " + reason + "; with gcc training is many times faster")
	}
	world, disconnect, err := connect(ctx, cfg, place)
	if err != nil {
		return err
	}
	job := train.Job{Config: cfg, Device: dev, World: world, Log: log}
	if place.Global == 0 { // the rank that reports mfu
		job.PeakFLOPS = peak(cfg, threads)
	}
	sink, err := output(job, place, bar)
	if err != nil {
		world.Abort(err)
		return err
	}
	err = train.Run(ctx, job, sink)
	return errors.Join(err, sink.Close(), dev.Close(), disconnect())
}

// connect makes the communicator of all ranks and the function that closes it.
func connect(ctx context.Context, cfg *config.Config, place launcher.Place) (comm.Comm, func() error, error) {
	timeout := time.Duration(cfg.Comm.InitTimeoutSeconds) * time.Second
	if place.World == 1 {
		c := local.New(1, local.Options{Timeout: timeout})[0]
		return c, c.(comm.Control).Close, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if cfg.Comm.Insecure && place.Secret.IsZero() {
		place.Secret = auth.Public()
	}
	st, closeStore, err := launcher.OpenStore(ctx, place)
	if errors.Is(err, launcher.ErrNoToken) {
		return nil, nil, fmt.Errorf("%w; or let anyone join, with comm.insecure = true", err)
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := host.Connect(ctx, host.Config{
		Rank: place.Global, World: place.World, Store: st, Timeout: timeout, Address: place.HostAddress(), Source: place.LocalAddr,
		RunID: place.Job(), Secret: place.Secret,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeStore())
	}
	return c, func() error {
		return errors.Join(c.(comm.Control).Close(), closeStore())
	}, nil
}

// threadsPerRank is OMP_NUM_THREADS, or this rank's part of the cores.
func threadsPerRank(localWorld int) (int, error) {
	if v := os.Getenv("OMP_NUM_THREADS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("OMP_NUM_THREADS=%q: want a number of threads, 1 or more", v)
		}
		return n, nil
	}
	return max(1, runtime.NumCPU()/localWorld), nil
}

// peak is what the rank's threads can multiply at most, in the arithmetic that
// the run uses.
func peak(cfg *config.Config, threads int) float64 {
	f32, bf16 := cpu.MeasurePeak()
	if cfg.Training.MixedPrecisionParam == "bfloat16" || cfg.Float8Enabled() {
		f32 = max(f32, bf16)
	}
	return f32 * float64(threads)
}
