// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"time"

	"octet/checkpoint"
	"octet/internal/pace"
	"octet/models/llama/hf"
)

// exportSuffix is behind the name of a step's checkpoint in that of the folder for transformers.
const exportSuffix = "-hf"

// export writes the weights of a checkpoint once more, for transformers (checkpoint.last_save_in_hf). The checkpoint has the parts
// of all ranks, and each converts its share of them, beside no collective.
func (t *Trainer) export(dir string) error {
	c, err := checkpoint.Open(dir)
	if err != nil && t.comm.Rank() > 0 {
		return nil // rank 0 finds the same, and tells it
	}
	if err != nil {
		return err
	}
	start, due := time.Now(), pace.Every(time.Second)
	kind, _ := hf.DType(t.cfg.Checkpoint.ExportDType) // one of the key's values
	config := hf.Config{Args: t.run.Args, DType: kind}
	err = hf.Export(dir+exportSuffix, config, c, hf.Options{
		Ranks: t.ranks(), Making: t.saver.Making(t.step) + exportSuffix, Assets: t.cfg.Model.HFAssetsPath,
		Progress: func(int64, int64) {
			if due() {
				t.alive()
			}
		},
	})
	if err := errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("checkpoint.last_save_in_hf: %w", err)
	}
	if t.comm.Rank() == 0 {
		t.log.Info(fmt.Sprintf("checkpoint: step %d exported for transformers in %s, in %.1fs", t.step, dir+exportSuffix, time.Since(start).Seconds()))
	}
	return nil
}
