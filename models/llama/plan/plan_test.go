// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/comm/local"
	"octet/config"
	"octet/internal/datadriven"
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
		ranks := c.Int(t, "ranks", 1)
		if err := Check(cfg, ranks); err != nil {
			return err.Error() + "\n"
		}
		if c.Cmd == "check" {
			return "ok\n"
		}
		return printed(t, cfg, ranks, c.Int(t, "rank", 0))
	})
}

// printed is the plan of one rank; making it is a collective of all.
func printed(t *testing.T, cfg *config.Config, ranks, rank int) string {
	texts := make([]string, ranks)
	var wg sync.WaitGroup
	for i, g := range local.New(ranks, local.Options{Timeout: 10 * time.Second}) {
		wg.Go(func() {
			model, p, err := Build(cfg)
			if err != nil {
				t.Error(err)
				g.Abort(err)
				return
			}
			f, err := p.Shard(&model, g)
			if err != nil {
				t.Error(err)
				return
			}
			texts[i] = fmt.Sprint(p) + f.Plan()
		})
	}
	wg.Wait()
	return texts[rank]
}
