// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"math"
	"time"

	"octet/comm"
	"octet/data"
	"octet/device"
	"octet/dtype"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/nn"
	"octet/tensor"
)

// validator measures the loss on data that is not trained on, the same batches
// each time.
type validator struct {
	loader *data.Loader
	start  data.State
	steps  int // batches a validation
	batch  *data.Batch
	micro  microbatch
	one    *tensor.Tensor // float32 [1]: 1, the scale of a sum
	bytes  bool           // ids are bytes
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
		loader: loader, start: loader.State(), steps: steps, batch: loader.NewBatch(),
		micro: newMicrobatch(pool, v.LocalBatchSize, v.SeqLen),
		one:   pool.New(dtype.Float32, 1), bytes: v.Dataset != "tokens",
	}, nil
}

// due reports whether torchtitan's validator would run after the step.
func (t *Trainer) due() bool {
	return t.validation != nil && (t.step == 1 || t.step%t.cfg.Validation.Freq == 0)
}

// Validate measures the loss on the validation data: the mean over its valid
// tokens on all ranks. It changes nothing that training reads.
func (t *Trainer) Validate() (*metrics.Validation, error) {
	start := time.Now()
	v, c, s := t.validation, t.ctx, t.ctx.Stream
	loss, count := c.Pool.New(dtype.Float32, 1), c.Pool.New(dtype.Int32, 1)
	defer c.Pool.Free(loss)
	defer c.Pool.Free(count)
	s.Zero(loss)
	s.Upload(v.one, device.Float32Bytes([]float32{1}))
	var r results
	v.loader.Restore(v.start)
	c.Mode = nn.Eval
	defer func() { c.Mode = nn.Train }()
	for range v.steps {
		if err := v.loader.Next(v.batch); err != nil {
			return nil, t.failed(fmt.Errorf("validation: %w", err))
		}
		r.count[0] += int32(v.batch.Valid)
		v.micro.upload(s, v.batch)
		t.sharded.BeginForward(c)
		nn.CrossEntropy(c, loss, t.model.Forward(c, nn.Input(v.micro.ids)), v.micro.targets, v.one)
	}
	s.Upload(count, device.Int32Bytes(r.count[:]))
	t.comm.AllReduce(s, comm.T(count), comm.Sum)
	t.comm.AllReduce(s, comm.T(loss), comm.Sum)
	s.Download(device.Int32Bytes(r.count[:]), count)
	s.Download(device.Float32Bytes(r.loss[:]), loss)
	if err := s.Record().Sync(); err != nil {
		return nil, t.failed(fmt.Errorf("validation: %w", errors.Join(err, t.sync())))
	}
	if r.count[0] == 0 {
		return nil, t.failed(errors.New("validation: no rank has a token to measure"))
	}
	elapsed := time.Since(start)
	m := &metrics.Validation{
		Loss:       float64(r.loss[0]) / float64(r.count[0]),
		Tokens:     int64(r.count[0]),
		MS:         elapsed.Seconds() * 1e3,
		TokensPerS: float64(v.steps*v.micro.ids.Numel()) / elapsed.Seconds(),
	}
	if v.bytes {
		m.BitsPerByte = m.Loss / math.Ln2
	}
	return m, nil
}
