// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"slices"

	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/internal/problems"
	"octet/nn"
)

// Check reports every tensor that the checkpoint lacks, or has in another shape or type.
func (c *Checkpoint) Check(tensors []nn.DTensor) error {
	var all []error
	for _, t := range tensors {
		shape, kind := t.Layout.Shape(), safetensors.Of(t.Local.Type)
		switch saved, ok := c.Index.Tensors[t.Name]; {
		case !ok:
			all = append(all, fmt.Errorf("%s: %s %v is missing", c.Dir, t.Name, shape))
		case !slices.Equal(saved.Shape, shape):
			all = append(all, fmt.Errorf("%s: %s has shape %v, the model wants %v", c.Dir, t.Name, saved.Shape, shape))
		case saved.DType != kind:
			all = append(all, fmt.Errorf("%s: %s is of type %s, the model wants %s", c.Dir, t.Name, saved.DType, kind))
		}
	}
	return problems.Lines(all...)
}

// Load gives the tensors the values that were saved under their names, whatever the layout
// that saved them, on s. It reads only what the rank has, and waits. progress, which may be nil, is
// called with bytes that were read, from several goroutines.
func (c *Checkpoint) Load(s device.Stream, tensors []nn.DTensor, progress func(bytes int)) error {
	if err := c.Check(tensors); err != nil {
		return err
	}
	if progress == nil {
		progress = func(int) {}
	}
	if host, ok := s.(device.HostStream); ok { // straight into the device's memory
		var all []wanted
		for _, t := range tensors {
			if t.Local.Numel() > 0 {
				all = append(all, wanted{t.Name, c.Index.Tensors[t.Name], t.Box(), host.Bytes(t.Local)})
			}
		}
		host.Call("load "+c.Dir, func() error { return c.read(extents(all), progress) })
		return s.Sync()
	}
	for _, t := range tensors {
		dst := make([]byte, t.Local.Bytes())
		if err := c.read(extents([]wanted{{t.Name, c.Index.Tensors[t.Name], t.Box(), dst}}), progress); err != nil {
			return err
		}
		s.Upload(t.Local, dst)
	}
	return s.Sync()
}
