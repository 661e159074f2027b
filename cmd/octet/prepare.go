// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"octet/backend"
	"octet/comm/agree"
	"octet/config"
	"octet/launcher"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/train/preflight"
	"octet/train/resume"
)

// preparedVar is the variable by which octet run gives its ranks what it has
// read for them: a handed in JSON. A rank that has it was checked.
const preparedVar = "OCTET_PREPARED"

// handed is what octet run has read once for all ranks of a host.
type handed struct {
	Path, Text []byte            // of the configuration file; empty if there is none
	Contents   map[string]string // preflight.Contents, where other hosts have their own files
}

// prepareTrain is what octet run asks before it starts ranks of `octet train`
// with these arguments.
func prepareTrain(args []string, world, local int) (prepared, error) {
	cfg, err := config.Load(args)
	if err != nil {
		return prepared{}, err
	}
	if cfg.Debug.DryRun {
		return prepared{}, errDryRun
	}
	memory, err := deviceMemory(cfg, world, local)
	if err != nil {
		return prepared{}, err
	}
	run, err := preflight.Check(cfg, world, local, memory)
	if err != nil {
		return prepared{}, err
	}
	if err := metrics.CheckFolder(cfg.Job.DumpFolder); err != nil {
		return prepared{}, err
	}
	if err := preflight.Prepare(run, say); err != nil {
		return prepared{}, err
	}
	if err := preflight.Scan(run, say); err != nil {
		return prepared{}, err
	}
	var h handed
	if file, ok := cfg.File(); ok {
		h.Path, h.Text = []byte(file.Path), []byte(file.Text)
	}
	if world == config.AnyWorld || cfg.Checkpoint.Enable { // several hosts, or several runs
		if h.Contents, err = preflight.Contents(run); err != nil {
			return prepared{}, err
		}
	}
	if _, err := resume.Find(run, h.Contents, ""); err != nil {
		return prepared{}, err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return prepared{}, err
	}
	asked, _ := preflight.Asked(cfg, h.Contents)
	return prepared{
		asked:   asked,
		device:  cfg.Device.Name,
		environ: []string{preparedVar + "=" + string(text)},
		check:   func(world int) error { return preflight.CheckWorld(run, world, local, memory) },
	}, nil
}

// fromLauncher is what octet run has read for this rank, and whether it has
// prepared it at all.
func fromLauncher() (h handed, prepared bool, err error) {
	text, prepared := os.LookupEnv(preparedVar)
	if prepared {
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			return h, true, fmt.Errorf("%s: %w; it is octet run's to set", preparedVar, err)
		}
	}
	return h, prepared, nil
}

// file is the configuration file, as config.Load takes it.
func (h handed) file() config.File { return config.File{Path: string(h.Path), Text: string(h.Text)} }

// agreed compares what the ranks were asked for, now that they have met: the
// program, every key, and between hosts the contents of the files, of which the
// first rank of a host speaks.
func agreed(cfg *config.Config, rank *backend.Rank, contents map[string]string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	job, onHost := preflight.Asked(cfg, contents)
	job["the program"] = version()
	return agree.Check(rank.Device, rank.World, agree.Claim{Host: host, GroupRank: rank.GroupRank, Job: job, OnHost: onHost})
}

// known is what the first rank knows of the contents of its host's files, for the
// checkpoints that it writes and goes on from.
func known(run *plan.Run, place launcher.Place, given handed) (map[string]string, error) {
	if place.Rank > 0 || !run.Config.Checkpoint.Enable || given.Contents != nil {
		return given.Contents, nil
	}
	return preflight.Contents(run)
}

// compared is what this rank says of the contents of its host's files: nothing
// where there is one host, or another rank speaks for it. It may read for long,
// so that it comes before the deadlines of the others begin.
func compared(run *plan.Run, place launcher.Place, given handed) (map[string]string, error) {
	switch {
	case place.GroupWorldSize == 1 || place.LocalRank > 0:
		return nil, nil
	case given.Contents != nil:
		return given.Contents, nil
	}
	return preflight.Contents(run)
}
