// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"math"
	"time"

	"octet/data"
	"octet/device"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/nn"
	"octet/parallel"
)

// validator measures the loss on data that is not trained on, the same batches
// each time.
type validator struct {
	loader *data.Loader
	steps  int // batches a validation
	batch  *data.Batch
	micro  microbatch
	bytes  bool // ids are bytes
}

func newValidator(run *plan.Run, rank int, pool *device.Pool) (*validator, error) {
	loader, err := run.OpenData(data.Validation, rank)
	if err != nil {
		return nil, err
	}
	v := run.Config.Validation
	steps := v.Steps
	if steps < 0 { // all the data
		steps = max(1, loader.Batches())
	}
	return &validator{
		loader: loader, steps: steps, batch: loader.NewBatch(),
		micro: newMicrobatch(pool, v.LocalBatchSize, v.SeqLen),
		bytes: loader.Bytes(),
	}, nil
}

// due reports whether torchtitan's validator would run after the step.
func (t *Trainer) due() bool {
	return t.validation != nil && (t.step == 1 || t.step%t.cfg.Validation.Freq == 0)
}

// Validate measures the loss on the validation data: the mean over its valid
// tokens on all ranks. It changes nothing that training reads.
func (t *Trainer) Validate() (*metrics.Validation, error) {
	start, v := time.Now(), t.validation
	if v == nil {
		return nil, errors.New("validation.enable = false: no validation data was opened")
	}
	v.loader.Seek(0)
	r, err := t.model.Eval(v.steps, func(c *nn.Ctx, _ int) (int, error) {
		if err := v.loader.Next(v.batch); err != nil {
			return 0, err
		}
		v.micro.upload(c.Stream, v.batch)
		nn.CrossEntropy(c, t.model.Forward(c, nn.Input(v.micro.ids)), v.micro.targets)
		return v.batch.Valid, nil
	})
	if errors.Is(err, parallel.ErrNoTerms) {
		err = errors.New("no rank has a token to measure")
	}
	if err != nil {
		return nil, t.failed(fmt.Errorf("validation: %w", err))
	}
	elapsed := time.Since(start)
	m := &metrics.Validation{
		Loss:       r.Loss,
		Tokens:     int64(r.Count),
		MS:         elapsed.Seconds() * 1e3,
		TokensPerS: float64(v.steps*v.micro.ids.Numel()) / elapsed.Seconds(),
	}
	if v.bytes {
		m.BitsPerByte = m.Loss / math.Ln2
	}
	return m, nil
}
