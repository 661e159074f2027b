// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"strings"

	"octet/checkpoint"
	"octet/device"
	"octet/models/llama/plan"
	"octet/nn"
)

// initWeights loads the weights of checkpoint.initial_load_path, or draws them.
// Each rank makes only its own rows; they are those of the whole parameter.
func (t *Trainer) initWeights(run *plan.Run) error {
	if path := t.cfg.Checkpoint.InitialLoadPath; path != "" {
		w, err := checkpoint.Open(path, t.model.Params(), run.Args.Shared())
		if err != nil {
			return err
		}
		if len(w.Unused) > 0 && t.comm.Rank() == 0 {
			t.log.Warn(fmt.Sprintf("checkpoint.initial_load_path = %s: not of the model, so left out: %s", path, strings.Join(w.Unused, ", ")))
		}
		return t.model.Load(func(s device.Stream, _ []*nn.Param) error {
			return errors.Join(w.Load(s), w.Close())
		})
	}
	return t.model.Init(uint64(t.cfg.Debug.Seed))
}
