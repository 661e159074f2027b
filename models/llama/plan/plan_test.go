// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"octet/config"
	"octet/internal/datadriven"
	"octet/test/ranks"
)

// TestPlans runs testdata/*.txt: the input of a case is a command line.
//
//	check ranks=2          what Resolve says of it: "ok" or the error
//	plan ranks=3 rank=2    the plan as rank 2 prints it
func TestPlans(t *testing.T) {
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		cfg, err := config.Load(strings.Fields(c.Input))
		if err != nil {
			return err.Error() + "\n"
		}
		n := c.Int(t, "ranks", 1)
		run, err := Resolve(cfg, n)
		if err != nil {
			return err.Error() + "\n"
		}
		if c.Cmd == "check" {
			return "ok\n"
		}
		return printed(t, run, c.Int(t, "rank", 0))
	})
}

// printed is the plan of one rank; making it is a collective of all.
func printed(t *testing.T, run *Run, rank int) string {
	texts := make([]string, run.Ranks)
	ranks.Run(t, run.Ranks, ranks.Options{}, func(r *ranks.Rank) error {
		model, err := run.Build()
		if err != nil {
			return err
		}
		m, err := run.Plan.Shard(model, r.World, r.Device)
		if err != nil {
			return err
		}
		texts[r.Rank] = m.Plan()
		return nil
	})
	return texts[rank]
}
