// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"strings"

	"octet/checkpoint"
	"octet/models/llama/plan"
)

// initWeights loads the weights of checkpoint.initial_load_path, or draws them.
// Each rank makes only its own rows; they are those of the whole parameter.
func (t *Trainer) initWeights(run *plan.Run) error {
	params := t.sharded.Params()
	if path := t.cfg.Checkpoint.InitialLoadPath; path != "" {
		w, err := checkpoint.Open(path, params, run.Args.Shared())
		if err != nil {
			return err
		}
		if len(w.Unused) > 0 && t.comm.Rank() == 0 {
			t.log.Warn(fmt.Sprintf("checkpoint.initial_load_path = %s: not of the model, so left out: %s", path, strings.Join(w.Unused, ", ")))
		}
		if err := errors.Join(w.Load(t.ctx.Stream), w.Close()); err != nil {
			return err
		}
	} else {
		for _, p := range params {
			p.Draw(t.ctx.Stream, uint64(t.cfg.Debug.Seed))
		}
	}
	t.precompute()
	return t.sync()
}
