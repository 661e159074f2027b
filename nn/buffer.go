// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"iter"

	"octet/device"
	"octet/tensor"
)

// Buffer is state that a checkpoint has to hold and no optimizer moves, PyTorch's
// persistent buffer: training writes it, and every rank has the whole of it.
type Buffer struct {
	Shape []int
	First float32 // every element's first value
	// Tensor is float32 [Shape...]; nil before the model has memory.
	Tensor *tensor.Tensor
	// Loaded, where there is one, is told what Set wrote on s: for what else follows
	// from the buffer.
	Loaded func(s device.Stream, values []float32)
}

// Numel is the number of elements.
func (b *Buffer) Numel() int {
	n := 1
	for _, d := range b.Shape {
		n *= d
	}
	return n
}

// Set writes the buffer: its elements in order, of which values may have too many,
// which are dropped, or too few, which then are as they were at first. None at all is
// the state that a new model has.
func (b *Buffer) Set(s device.Stream, values []float32) {
	if b.Tensor == nil {
		panic(fmt.Sprintf("nn: a buffer %v has no memory yet: shard the model and give it its first values (parallel.Model.Init or Load) first", b.Shape))
	}
	all := make([]float32, b.Numel())
	for i := copy(all, values); i < len(all); i++ {
		all[i] = b.First
	}
	s.Upload(b.Tensor, device.Float32Bytes(all))
	if b.Loaded != nil {
		b.Loaded(s, all)
	}
}

// Stateful is a module, or the Caster of a Linear, that has buffers.
type Stateful interface {
	// Buffers are its own by name, not those of modules below.
	Buffers() iter.Seq2[string, *Buffer]
}

// Buffers yields every buffer below m with its fully qualified name, in the order of
// Parameters, each once.
func Buffers(m Module) iter.Seq2[string, *Buffer] {
	return func(yield func(string, *Buffer) bool) {
		buffers(m, "", map[*Buffer]bool{}, yield)
	}
}

func buffers(m Module, prefix string, seen map[*Buffer]bool, yield func(string, *Buffer) bool) bool {
	m = Base(m)
	if s, ok := m.(Stateful); ok {
		for name, b := range s.Buffers() {
			if !seen[b] && !yield(join(prefix, name), b) {
				return false
			}
			seen[b] = true
		}
	}
	for name, child := range m.Children() {
		if !buffers(*child, childPrefix(prefix, name), seen, yield) {
			return false
		}
	}
	return true
}
