// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"

	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
)

// node is a module with parameters and children by name.
type node struct {
	params   []string
	values   []*nn.Param
	names    []string
	children []nn.Module
}

func (n *node) Forward(*nn.Ctx, *nn.Var) *nn.Var { return nil }

func (n *node) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for i, name := range n.params {
			if !yield(name, n.values[i]) {
				return
			}
		}
	}
}

func (n *node) Children() iter.Seq2[string, *nn.Module] {
	return func(yield func(string, *nn.Module) bool) {
		for i, name := range n.names {
			if !yield(name, &n.children[i]) {
				return
			}
		}
	}
}

// decorator adds nothing to a module but itself.
type decorator struct {
	nn.Leaf
	nn.NoParams
	label string
	inner nn.Module
}

var _ nn.Decorator = (*decorator)(nil)

func (d *decorator) Inner() *nn.Module                    { return &d.inner }
func (d *decorator) Forward(c *nn.Ctx, x *nn.Var) *nn.Var { return d.inner.Forward(c, x) }

// tree has a group, a decorator below it, and a parameter used twice.
func tree() nn.Module {
	leaf := func(names ...string) *node {
		n := &node{params: names}
		for range names {
			n.values = append(n.values, nn.NewParam(nn.Init{}, 1))
		}
		return n
	}
	embed, norm, output := leaf("weight"), leaf("weight"), leaf("weight", "bias")
	output.values[0] = embed.values[0]
	wrapped := &decorator{inner: output}
	head := &node{names: []string{"norm", "output"}, children: []nn.Module{norm, wrapped}}
	block := &node{params: []string{"gain"}, values: []*nn.Param{nn.NewParam(nn.Init{}, 1)}, names: []string{"attention"}, children: []nn.Module{leaf("weight")}}
	return &node{names: []string{"embed", "layers.0", "norm+output"}, children: []nn.Module{embed, block, head}}
}

func TestParametersHaveTheNamesOfTheirPaths(t *testing.T) {
	var names []string
	m := tree()
	nn.AssignNames(m)
	for name, p := range nn.Parameters(m) {
		names = append(names, name)
		if p.Name != name {
			t.Errorf("%s is named %q", name, p.Name)
		}
	}
	// A group and a decorator add nothing; what is used twice has its first name.
	want := []string{"embed.weight", "layers.0.gain", "layers.0.attention.weight", "norm.weight", "output.bias"}
	if !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	for name := range nn.Parameters(m) {
		if name == "layers.0.gain" {
			break // must stop the iteration
		}
	}
}

func TestWalkVisitsChildrenFirst(t *testing.T) {
	m := tree()
	var paths []string
	if err := nn.Walk(&m, func(path string, m nn.Module) (nn.Module, error) {
		paths = append(paths, path)
		return m, nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"embed", "layers.0.attention", "layers.0", "norm", "output", "norm+output", ""}
	if !slices.Equal(paths, want) {
		t.Errorf("paths %q, want %q", paths, want)
	}
}

// TestDecoratorsStack: a walk sees a slot once, with what is outermost in it, so
// that each further decorator goes around those before it; names and parameters
// stay as they were.
func TestDecoratorsStack(t *testing.T) {
	m := tree()
	before := fmt.Sprint(names(m))
	for _, label := range []string{"tp", "checkpoint", "fsdp"} { // the order of package parallel
		if err := nn.Walk(&m, func(path string, m nn.Module) (nn.Module, error) {
			if path == "layers.0" || path == "layers.0.attention" || path == "" {
				return &decorator{label: label, inner: m}, nil
			}
			return m, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if after := fmt.Sprint(names(m)); after != before {
		t.Errorf("decorated, the names are %s; they were %s", after, before)
	}
	stacks := map[string]string{}
	visits := 0
	_ = nn.Walk(&m, func(path string, m nn.Module) (nn.Module, error) {
		visits++
		base := nn.Base(m)
		for d, ok := m.(*decorator); ok; d, ok = m.(*decorator) {
			stacks[path] += d.label + " "
			m = d.inner
		}
		if m != base {
			t.Errorf("%s: Base is %T, the innermost module %T", path, base, m)
		}
		return m, nil
	})
	if visits != 7 {
		t.Errorf("%d slots visited, want each of 7 once", visits)
	}
	for _, path := range []string{"layers.0", "layers.0.attention", ""} {
		if stacks[path] != "fsdp checkpoint tp " {
			t.Errorf("%q has %q, from outside in", path, stacks[path])
		}
	}
	if stacks["output"] != " " || stacks["embed"] != "" {
		t.Errorf("output has %q, embed %q", stacks["output"], stacks["embed"])
	}
}

func TestWalkStopsAtAnError(t *testing.T) {
	m := tree()
	broken := errors.New("broken")
	visited := 0
	err := nn.Walk(&m, func(path string, m nn.Module) (nn.Module, error) {
		visited++
		if path == "layers.0.attention" {
			return nil, broken
		}
		return m, nil
	})
	if !errors.Is(err, broken) || visited != 2 {
		t.Errorf("error %v after %d modules, want the error of the second", err, visited)
	}
}

func names(m nn.Module) (all []string) {
	for name := range nn.Parameters(m) {
		all = append(all, name)
	}
	return all
}

func TestAnyShardStartsAsThePartOfTheWhole(t *testing.T) {
	for _, init := range []nn.Init{nn.Normal(0.02), nn.TruncatedNormal(0.5, 3), nn.Constant(1)} {
		whole := make([]float32, 1000)
		init.Fill(whole, 7, "layers.0.attention.wq.weight", 0)
		for _, size := range []int{1, 3, 7, 250, 999} {
			parts := make([]float32, len(whole))
			for at := 0; at < len(parts); at += size {
				init.Fill(parts[at:min(at+size, len(parts))], 7, "layers.0.attention.wq.weight", at)
			}
			if !slices.Equal(parts, whole) {
				t.Errorf("%+v in pieces of %d is not the whole", init, size)
			}
		}
	}
}

// TestDrawWritesTheRanksPart of parameters that are more than one piece, or whose
// rows are, cut along either dim.
func TestDrawWritesTheRanksPart(t *testing.T) {
	mesh, err := dtensor.NewMesh(2, dtensor.Axis{Name: "fsdp", Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range [][]int{{2000, 300}, {2, 300000}, {5}} {
		for dim := range shape {
			r := rig(t)
			p := nn.NewParam(nn.Normal(1), shape...)
			p.Name = "w"
			p.Place(dtensor.NewLayout(mesh, shape, dtensor.Shard(dim)), 1)
			p.Shard = r.Empty(dtype.Float32, p.Box().Shape()...)
			p.Draw(r.Ctx.Stream, 7)
			whole := make([]float32, p.Numel())
			p.Init.Fill(whole, 7, "w", 0)
			want := make([]float32, p.Box().Numel())
			p.Box().Overlap(dtensor.Whole(shape), func(at, from, n int) { copy(want[at:at+n], whole[from:]) })
			if !slices.Equal(r.Get(p.Local()), want) || p.Version() != 1 {
				t.Errorf("%v cut along dim %d: other values than those of the whole, or %d writes for one", shape, dim, p.Version())
			}
		}
	}
}

// TestSetBoxStopsAtAnError of whoever reads the rows.
func TestSetBoxStopsAtAnError(t *testing.T) {
	r := rig(t)
	p := nn.NewParam(nn.Normal(1), 4, 300000)
	p.Place(dtensor.Alone(4, 300000), 0)
	p.Shard = r.Empty(dtype.Float32, 4, 300000)
	cause := errors.New("cut short")
	var read []int
	err := p.SetBox(r.Ctx.Stream, func(_ []float32, box dtensor.Box) error {
		if read = append(read, box.Lo[0]); box.Lo[0] == 1 {
			return cause
		}
		return nil
	})
	if !errors.Is(err, cause) || !slices.Equal(read, []int{0, 1}) {
		t.Errorf("error %v after rows %v", err, read)
	}
}

func TestInitsHaveTheirMoments(t *testing.T) {
	x := make([]float32, 100000)
	moments := func() (mean, std, largest float64) {
		var sum, squares float64
		for _, v := range x {
			sum += float64(v)
			squares += float64(v) * float64(v)
			largest = max(largest, math.Abs(float64(v)))
		}
		n := float64(len(x))
		return sum / n, math.Sqrt(squares/n - sum/n*sum/n), largest
	}
	nn.Normal(2).Fill(x, 1, "a", 0)
	first := x[0]
	if mean, std, largest := moments(); math.Abs(mean) > 0.03 || math.Abs(std-2) > 0.03 || largest < 7 {
		t.Errorf("Normal(2): mean %.3f, deviation %.3f, largest %.1f", mean, std, largest)
	}
	nn.Normal(2).Fill(x, 1, "b", 0)
	if x[0] == first {
		t.Error("another name starts with the same values")
	}
	nn.Normal(2).Fill(x, 2, "a", 0)
	if x[0] == first {
		t.Error("another seed starts with the same values")
	}
	// A normal cut at one deviation has deviation 0.5396 (the variance is
	// 1 - 2·φ(1)/(2·Φ(1)-1)).
	nn.TruncatedNormal(2, 1).Fill(x, 1, "a", 0)
	if mean, std, largest := moments(); math.Abs(mean) > 0.02 || math.Abs(std-2*0.5396) > 0.02 || largest > 2 {
		t.Errorf("TruncatedNormal(2, 1): mean %.3f, deviation %.3f, largest %.3f", mean, std, largest)
	}
	nn.Constant(3).Fill(x, 1, "a", 0)
	if mean, std, _ := moments(); mean != 3 || std != 0 {
		t.Errorf("Constant(3): mean %v, deviation %v", mean, std)
	}
}

// TestRoPEScalingIsLlamas compares with the form that Llama 3.1 published: by wave
// lengths, not by turns.
func TestRoPEScalingIsLlamas(t *testing.T) {
	const factor, low, high, original, theta, head = 8.0, 1.0, 4.0, 8192.0, 500000.0, 128
	r := nn.RoPE{HeadDim: head, MaxSeq: 3, Theta: theta, Scaling: &nn.RoPEScaling{Factor: factor, LowFreq: low, HighFreq: high, OriginalMaxSeq: original}}
	values := r.Values()
	kinds := map[string]int{}
	for i := range head / 2 {
		f := 1 / math.Pow(theta, float64(2*i)/head)
		wave := 2 * math.Pi / f
		switch {
		case wave < original/high:
			kinds["kept"]++
		case wave > original/low:
			kinds["divided"]++
			f /= factor
		default:
			kinds["blended"]++
			smooth := (original/wave - low) / (high - low)
			f = (1-smooth)*f/factor + smooth*f
		}
		for pos := range 3 {
			at := (pos*head/2 + i) * 2
			cos, sin := math.Cos(float64(pos)*f), math.Sin(float64(pos)*f)
			if math.Abs(float64(values[at])-cos) > 1e-6 || math.Abs(float64(values[at+1])-sin) > 1e-6 {
				t.Fatalf("position %d, pair %d: (%v, %v), want (%v, %v)", pos, i, values[at], values[at+1], cos, sin)
			}
		}
	}
	if len(kinds) != 3 {
		t.Errorf("only %v of the three kinds of frequency were tried", kinds)
	}
}
