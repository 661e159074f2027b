// SPDX-License-Identifier: Apache-2.0

// Package preflight finds, before any rank starts, what would stop a run of
// training: values, memory, files, the dump folder. Its Check also resolves the
// configuration, once for all that follows; Scan reads what Check only opens,
// Contents and Asked are what hosts and ranks compare when they meet.
package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"octet/config"
	"octet/data"
	"octet/internal/problems"
	"octet/models/llama/plan"
	"octet/nn"
)

// Check resolves cfg for world ranks, local of them on this host, and reports
// everything that would stop them before their first step: the memory they need
// and the files they read and write among it. memory is the bytes that are free
// for the local ranks together, of their host or their devices; 0 is not known.
// It writes nothing. A launcher calls it before any rank starts. Where the hosts
// have to meet before their ranks can be counted, world is config.AnyWorld, and
// CheckWorld follows.
func Check(cfg *config.Config, world, local int, memory int64) (*plan.Run, error) {
	run, err := plan.Resolve(cfg, world)
	if err != nil {
		return nil, err
	}
	var tooLarge error
	if world != config.AnyWorld {
		tooLarge = checkMemory(run, local, memory)
	}
	if err := problems.Lines(tooLarge, checkData(run), checkWeights(run), checkOutput(cfg.Job.DumpFolder)); err != nil {
		return nil, err
	}
	return run, nil
}

// CheckWorld is the part of Check that depends on the number of ranks. It opens
// no files, and is quick.
func CheckWorld(run *plan.Run, world, local int, memory int64) error {
	run, err := run.On(world)
	if err != nil {
		return err
	}
	return checkMemory(run, local, memory)
}

// checkOutput asks whether the dump folder, or the folder that it would be made
// in, can be written to.
func checkOutput(dump string) error {
	folder := filepath.Clean(dump)
	_, err := os.Stat(folder)
	for errors.Is(err, fs.ErrNotExist) && folder != filepath.Dir(folder) {
		folder = filepath.Dir(folder)
		_, err = os.Stat(folder)
	}
	if err == nil {
		err = unix.Access(folder, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return fmt.Errorf("job.dump_folder = %q: %s: %w; name a folder that can be written to", dump, folder, err)
	}
	return nil
}

// checkData ends at the first section whose data is wrong.
func checkData(run *plan.Run) error {
	for _, s := range run.Sections() {
		if err := data.Check(run.Data(s)); err != nil {
			return err
		}
	}
	return nil
}

func checkWeights(run *plan.Run) error {
	var params []*nn.Param
	for _, p := range nn.Parameters(run.Model) {
		params = append(params, p)
	}
	w, err := run.OpenWeights(params)
	if err != nil || w == nil {
		return err
	}
	return w.Close()
}

// Asked is what a rank was asked to do, as named values, for others to compare:
// those of job are equal on all ranks, those of onHost, paths, among the ranks of
// one host. contents are Contents, where they are known.
func Asked(cfg *config.Config, contents map[string]string) (job, onHost map[string]string) {
	job, onHost = cfg.Values()
	maps.Copy(job, contents)
	return job, onHost
}
