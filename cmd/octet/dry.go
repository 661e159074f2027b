// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"

	"octet/config"
	"octet/models/llama/plan"
)

// errDryRun is what a launcher is told.
var errDryRun = errors.New("debug.dry_run = true: one process plays all ranks: run octet train without a launcher, with the degrees of the job")

// dryRun prints what a job of as many ranks as the degrees of cfg ask for would take
// and send. It opens no device and no file of data or weights.
func dryRun(w io.Writer, cfg *config.Config) error {
	run, err := plan.Resolve(cfg, cfg.LeastRanks())
	if err != nil {
		return err
	}
	dry, err := run.DryRun()
	if err != nil {
		return err
	}
	table := run.Plan.String()
	if cfg.Debug.PrintPlan {
		table = dry.Plan
	}
	_, err = fmt.Fprintf(w, "%s%v", table, dry)
	return err
}
