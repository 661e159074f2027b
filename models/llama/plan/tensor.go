// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"octet/data"
	"octet/dtensor"
	"octet/dtype"
	"octet/tensor"
	"octet/tp"
)

// TensorOptions choose among the plans of tensor parallelism.
type TensorOptions struct {
	Sequence bool // each rank has some rows of the tokens between the layers that ranks share
	Loss     bool // the loss is taken of a part of the vocabulary on each rank
}

// Tensor is how ranks share the modules of a Llama, torchtitan's plan: attention by heads, the
// feed-forward by its width, embedding and output by the vocabulary.
func Tensor(o TensorOptions) tp.Plan {
	between, logits := dtensor.Replicate(), dtensor.Replicate()
	if o.Sequence {
		between = dtensor.Shard(0)
	}
	if o.Loss {
		logits = dtensor.Shard(-1)
	}
	in, out := tp.InputLayouts, tp.OutputLayouts
	p := tp.Plan{
		tp.For("tok_embeddings", tp.RowwiseParallel(in(dtensor.Replicate()), out(between))),
		tp.For("layers.*.attention", tp.PrepareModuleInput(between, dtensor.Replicate())),
		tp.For("layers.*.attention.w[qkv]", tp.ColwiseParallel()),
		tp.For("layers.*.attention.wo", tp.RowwiseParallel(out(between))),
		tp.For("layers.*.feed_forward", tp.PrepareModuleInput(between, dtensor.Replicate())),
		tp.For("layers.*.feed_forward.w[13]", tp.ColwiseParallel()),
		tp.For("layers.*.feed_forward.w2", tp.RowwiseParallel(out(between))),
		tp.For("output", tp.ColwiseParallel(in(between), out(logits))),
	}
	if o.Sequence {
		p = append(p, tp.For("layers.*.*_norm", tp.SequenceParallel()), tp.For("norm", tp.SequenceParallel()))
	}
	return p
}

// checkTensor carries the layouts of activations through a model like r's, with the batches of training
// and of validation.
func (r *Run) checkTensor() error {
	degree := r.Plan.Degrees.Tensor
	if degree <= 1 {
		return nil
	}
	for _, section := range r.Sections() {
		model, err := r.Build()
		if err != nil {
			return err
		}
		d := r.Data(section)
		if err := r.Plan.Check(model, tensor.Spec{Type: dtype.Int32, Shape: []int{d.LocalBatch, d.SeqLen}}); err != nil {
			of := ""
			if section == data.Validation { // whose keys are others
				of = fmt.Sprintf(", for a batch of [%s]", section)
			}
			return fmt.Errorf("parallelism.tensor_parallel_degree = %d%s: %w", degree, of, err)
		}
	}
	return nil
}
