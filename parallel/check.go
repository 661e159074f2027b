// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"errors"
	"fmt"

	"octet/dtensor"
	"octet/fp8"
	"octet/nn"
	"octet/tensor"
	"octet/tp"
)

// Check finds, before any rank starts, what Tensor cannot do with an input of the model: see tp.Plan.Check. The model was converted,
// and is good for nothing else then. Of layers in float8 each rank's part has to fit as the whole has.
func (p Plan) Check(model nn.Module, input tensor.Spec) error {
	n := max(1, p.Degrees.Tensor)
	if n == 1 {
		return nil
	}
	if err := p.checkRules(n); err != nil {
		return err
	}
	mesh, err := dtensor.NewMesh(n, dtensor.Axis{Name: tp.Axis, Size: n})
	if err != nil {
		return err
	}
	nn.AssignNames(model)
	if err := p.Tensor.Check(model, mesh, input); err != nil {
		return err
	}
	var errs []error
	for _, l := range fp8.Linears(model) {
		if fp8.Converted(l.Linear) {
			errs = append(errs, fits(l, mesh))
		}
	}
	return errors.Join(errs...)
}

// checkRules refuses a plan without rules for n ranks that share modules.
func (p Plan) checkRules(n int) error {
	if len(p.Tensor) == 0 {
		return fmt.Errorf("parallel: Degrees.Tensor is %d, but the plan has no rules of how ranks share modules: set Plan.Tensor", n)
	}
	return nil
}

// fits finds a rank whose part of a layer no float8 matmul takes.
func fits(l fp8.NamedLinear, mesh dtensor.Mesh) error {
	layout := l.Linear.Weight.Layout(mesh)
	for _, rank := range mesh.Ranks() {
		_, sizes := layout.Local(rank)
		for i, side := range []string{"out_features", "in_features"} {
			if sizes[i]%fp8.Alignment != 0 {
				return fmt.Errorf("%s: %s %d, cut in %d, leaves rank %d with %d, which is not a multiple of %d (float8 matmul); add its name to Float8.Skip or share it among fewer ranks",
					l.FQN, side, layout.Shape()[i], mesh.Size(tp.Axis), rank, sizes[i], fp8.Alignment)
			}
		}
	}
	return nil
}
