// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"octet/config"
	"octet/launcher"
	"octet/metrics"
	"octet/train"
	"octet/train/resume"
)

// newBar is the progress bar of a rank; rank 0 has one, where there is a terminal.
func newBar(cfg *config.Config, place launcher.Place) *metrics.Progress {
	columns := 0
	if place.Rank == 0 {
		columns, _ = strconv.Atoi(os.Getenv(terminalVar)) // octet run's, where it has a terminal
	}
	return metrics.NewProgress(os.Stderr, cfg.Training.Steps, columns)
}

// ownerOf is who this rank is to a dump folder.
func ownerOf(place launcher.Place) (metrics.Owner, error) {
	host, err := os.Hostname()
	return metrics.Owner{
		// All attempts of a job have the same launcher.
		Job:     fmt.Sprintf("%s of process %d on %s", place.RunID, os.Getppid(), host),
		Attempt: place.Attempt, PID: os.Getpid(), Host: host, Since: time.Now(),
	}, err
}

// output is what rank 0 writes of a run, in a dump folder that it holds until
// Close: the configuration, and what train.NewSink has. Other ranks write nothing.
func output(job train.Job, owner metrics.Owner, bar *metrics.Progress) (metrics.Sink, error) {
	if job.World.Rank() != 0 {
		return train.NewSink(job, nil, bar)
	}
	folder, err := metrics.OpenFolder(job.Run.Config.Job.DumpFolder, owner, func(text string) { job.Log.Info(text) })
	if err != nil {
		return nil, err
	}
	if job.Run.Config.Checkpoint.Enable {
		start, err := resume.Find(job.Run, job.Contents, job.Owner)
		if err != nil {
			return nil, errors.Join(err, folder.Close())
		}
		folder.Resume(start.Own, start.Step)
	}
	r := &results{job: job, folder: folder, files: []string{folder.Path(metrics.FileName)}}
	if job.Run.Config.Debug.Float8Stats {
		r.files = append(r.files, folder.Path(metrics.CastsFileName))
	}
	if err := r.writeConfig(); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	if r.Sink, err = train.NewSink(job, folder, bar); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return r, nil
}

// results says at the end of a run where everything is.
type results struct {
	metrics.Sink
	job    train.Job
	folder *metrics.Folder
	files  []string
	step   int
}

func (r *results) Step(record metrics.Record) {
	r.step = record.Step
	r.Sink.Step(record)
}

func (r *results) Close() error {
	err := errors.Join(r.Sink.Close(), r.folder.Close())
	if err == nil && r.step == r.job.Run.Config.Training.Steps {
		r.job.Log.Info("results: " + strings.Join(r.files, ", "))
	}
	return err
}

// writeConfig prints and saves the merged configuration where that is asked for.
func (r *results) writeConfig() error {
	cfg := r.job.Run.Config
	if cfg.Job.PrintConfig {
		if err := cfg.Write(os.Stdout); err != nil {
			return err
		}
	}
	name := cfg.Job.SaveConfigFile
	if name == "" {
		return nil
	}
	if err := r.folder.Write(name, cfg.Write); err != nil {
		return fmt.Errorf("job.save_config_file: %w", err)
	}
	r.files = append(r.files, r.folder.Path(name))
	return nil
}
