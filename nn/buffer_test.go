// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// counting is a node with buffers, and counter a Caster with one.
type counting struct {
	node
	buffers []*nn.Buffer
}

func (c *counting) Buffers() iter.Seq2[string, *nn.Buffer] { return named(c.buffers) }

type counter struct {
	nn.HighPrecision
	buffers []*nn.Buffer
}

func (c *counter) Buffers() iter.Seq2[string, *nn.Buffer] { return named(c.buffers) }

// named calls buffers a, b and so on.
func named(buffers []*nn.Buffer) iter.Seq2[string, *nn.Buffer] {
	return func(yield func(string, *nn.Buffer) bool) {
		for i, b := range buffers {
			if !yield(string(rune('a'+i)), b) {
				return
			}
		}
	}
}

// TestBuffersHaveTheNamesOfTheirPaths: those of modules and of Linears' Casters, through
// decorators and groups, each once.
func TestBuffersHaveTheNamesOfTheirPaths(t *testing.T) {
	linear := nn.NewLinear(2, 2, nn.LinearOptions{})
	linear.Caster = &counter{buffers: []*nn.Buffer{{}, {}}}
	shared := &counting{buffers: []*nn.Buffer{{}}}
	root := &counting{
		node: node{names: []string{"up", "x+y", "again"}, children: []nn.Module{
			&decorator{label: "d", inner: linear},
			&node{names: []string{"x", "y"}, children: []nn.Module{shared, nn.NewLinear(2, 2, nn.LinearOptions{})}},
			shared,
		}},
		buffers: []*nn.Buffer{{}},
	}
	var names []string
	for name := range nn.Buffers(root) {
		names = append(names, name)
	}
	if got, want := strings.Join(names, " "), "a up.a up.b x.a"; got != want {
		t.Errorf("buffers %q, want %q", got, want)
	}
	for name := range nn.Buffers(root) {
		if name == "up.a" { // and the walk ends
			break
		}
	}
}

// TestABufferIsSetFromAnyNumberOfValues: the first of too many, and its first value for
// those that are missing; what follows from it is told.
func TestABufferIsSetFromAnyNumberOfValues(t *testing.T) {
	r := nntest.New(t, ranks.Device(t, ranks.Options{}), dtype.Float32)
	var told []float32
	b := &nn.Buffer{Shape: []int{3}, First: 7, Loaded: func(_ device.Stream, v []float32) { told = v }}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a buffer without memory can be set")
			}
		}()
		b.Set(r.Ctx.Stream, nil)
	}()
	b.Tensor = r.Ctx.Pool.New(dtype.Float32, 3)
	for _, tt := range []struct{ values, want []float32 }{
		{[]float32{1, 2, 3}, []float32{1, 2, 3}},
		{[]float32{4, 5, 6, 9}, []float32{4, 5, 6}},
		{[]float32{8}, []float32{8, 7, 7}},
		{nil, []float32{7, 7, 7}},
	} {
		b.Set(r.Ctx.Stream, tt.values)
		if got := r.Get(b.Tensor); !slices.Equal(got, tt.want) || !slices.Equal(told, tt.want) {
			t.Errorf("set to %v it is %v and tells %v, want %v", tt.values, got, told, tt.want)
		}
	}
}
