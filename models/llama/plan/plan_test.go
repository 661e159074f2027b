// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"testing"

	"octet/config"
	"octet/internal/datadriven"
	"octet/test/ranks"
)

// TestPlans runs testdata/*.txt: the input of a case is a command line.
//
//	check ranks=2          what Check says of it: "ok" or the error
//	plan ranks=3 rank=2    the plan as rank 2 prints it
func TestPlans(t *testing.T) {
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		cfg, err := config.Load(strings.Fields(c.Input))
		if err != nil {
			return err.Error() + "\n"
		}
		n := c.Int(t, "ranks", 1)
		if err := Check(cfg, n); err != nil {
			return err.Error() + "\n"
		}
		if c.Cmd == "check" {
			return "ok\n"
		}
		return printed(t, cfg, n, c.Int(t, "rank", 0))
	})
}

// printed is the plan of one rank; making it is a collective of all.
func printed(t *testing.T, cfg *config.Config, n, rank int) string {
	texts := make([]string, n)
	ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
		model, p, err := Build(cfg)
		if err != nil {
			return err
		}
		f, err := p.Shard(&model, r.World)
		if err != nil {
			return err
		}
		texts[r.Rank] = fmt.Sprint(p) + f.Plan()
		return nil
	})
	return texts[rank]
}
