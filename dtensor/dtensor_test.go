// SPDX-License-Identifier: Apache-2.0

package dtensor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"octet/dtype"
	"octet/internal/datadriven"
)

// The scenarios' commands; a mesh is written as words such as fsdp:4.
//
//	chunk N W                       sizes, starts and padded size of a dim cut by the rule of torch.chunk
//	mesh AXIS:SIZE... [world=N]     each rank's coordinate
//	slice AXIS:SIZE... rank=R names=A,B
//	flatten AXIS:SIZE... [name=N] names=A,B
//	groups AXIS:SIZE... axis=A      the groups of an axis, with their color and the keys of their ranks
//	layout AXIS:SIZE... shape=N,M   one "AXIS PLACEMENT" a line, in the order of application: each rank's box
//	plan AXIS:SIZE... shape=N,M [type=T]   the same after "from" and "to": the steps between
func TestScenarios(t *testing.T) {
	datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
		if c.Cmd == "chunk" {
			return chunkText(ints(t, c.Args))
		}
		var axes []Axis
		world := 1
		for _, word := range c.Args {
			name, size, _ := strings.Cut(word, ":")
			n := ints(t, []string{size})[0]
			axes = append(axes, Axis{name, n})
			world *= n
		}
		m, err := NewMesh(c.Int(t, "world", world), axes...)
		if err != nil {
			return err.Error()
		}
		switch c.Cmd {
		case "mesh":
			return meshText(m)
		case "slice":
			sub, err := m.Slice(c.Int(t, "rank", 0), names(c)...)
			return meshOrError(sub, err)
		case "flatten":
			flat, err := m.Flatten(c.Vals["name"], names(c)...)
			return meshOrError(flat, err)
		case "groups":
			return groupsText(m, c.Vals["axis"])
		case "layout":
			return layoutText(t, m, ints(t, strings.Split(c.Vals["shape"], ",")), c.Input)
		case "plan":
			return planText(t, m, ints(t, strings.FieldsFunc(c.Vals["shape"], func(r rune) bool { return r == ',' })), c.Vals["type"], c.Input)
		}
		t.Fatalf("%s: unknown command %s", c.Pos, c.Cmd)
		return ""
	})
}

func ints(t *testing.T, words []string) []int {
	var out []int
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func names(c *datadriven.Case) []string {
	return strings.FieldsFunc(c.Vals["names"], func(r rune) bool { return r == ',' })
}

func chunkText(nw []int) string {
	var sizes, starts []int
	for r := range nw[1] {
		start, size := Chunk(nw[0], nw[1], r)
		sizes, starts = append(sizes, size), append(starts, start)
	}
	return fmt.Sprintf("sizes %v starts %v padded %d", sizes, starts, Padded(nw[0], nw[1]))
}

func meshText(m Mesh) string {
	s := m.String()
	for _, r := range m.Ranks() {
		c, _ := m.Coordinate(r)
		s += fmt.Sprintf("\n%v rank %d", c, r)
	}
	return s
}

func meshOrError(m Mesh, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%v %v", m, m.Ranks())
}

func groupsText(m Mesh, axis string) string {
	return panicText(func() string {
		groups := make(map[string]bool)
		for _, r := range m.Ranks() {
			ranks, color, key := m.Group(r, axis)
			if ranks[key] != r {
				return fmt.Sprintf("rank %d has key %d in group %v", r, key, ranks)
			}
			groups[fmt.Sprintf("color %d: %v", color, ranks)] = true
		}
		var lines []string
		for g := range groups {
			lines = append(lines, g)
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	})
}

func layoutText(t *testing.T, m Mesh, shape []int, input string) string {
	return panicText(func() string {
		l := NewLayout(m, shape)
		for line := range strings.Lines(input) {
			axis, p, _ := strings.Cut(strings.TrimSpace(line), " ")
			l = l.Place(axis, parsePlacement(t, p))
		}
		s := l.String()
		for _, r := range m.Ranks() {
			offsets, sizes := l.Local(r)
			c, _ := m.Coordinate(r)
			s += fmt.Sprintf("\nrank %d %v: %s", r, c, boxText(offsets, sizes))
		}
		return s
	})
}

func planText(t *testing.T, m Mesh, shape []int, typ, input string) string {
	ends := map[string]Layout{"from": NewLayout(m, shape), "to": NewLayout(m, shape)}
	for line := range strings.Lines(input) {
		end, place, _ := strings.Cut(strings.TrimSpace(line), " ")
		axis, p, _ := strings.Cut(place, " ")
		ends[end] = ends[end].Place(axis, parsePlacement(t, p))
	}
	ty, err := dtype.Parse(cmp.Or(typ, "float32"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(ends["from"], ends["to"], ty)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(p.String())
}

// boxText writes a box as size@offset, one a dim.
func boxText(offsets, sizes []int) string {
	var parts []string
	for d := range sizes {
		parts = append(parts, fmt.Sprintf("%d@%d", sizes[d], offsets[d]))
	}
	return strings.Join(parts, " ")
}

func parsePlacement(t *testing.T, s string) Placement {
	kind, arg, _ := strings.Cut(strings.TrimSuffix(s, ")"), "(")
	switch kind {
	case "Replicate":
		return Replicate()
	case "Shard":
		return Shard(ints(t, []string{arg})[0])
	case "Partial":
		return Partial(Reduce(arg))
	}
	t.Fatalf("no placement: %q", s)
	return Placement{}
}

// panicText is what f returns, or its panic.
func panicText(f func() string) (s string) {
	defer func() {
		if e := recover(); e != nil {
			s = fmt.Sprint("panic: ", e)
		}
	}()
	return f()
}

// For any size and any number of ranks the parts follow one another and are no larger than the padded size.
func TestChunksTileTheDim(t *testing.T) {
	for n := range 41 {
		for w := 1; w <= 9; w++ {
			at := 0
			for r := range w {
				start, size := Chunk(n, w, r)
				if start != at || size < 0 || size > Padded(n, w) || (size == 0 && start != n) {
					t.Fatalf("Chunk(%d, %d, %d) = %d, %d; the part before ends at %d", n, w, r, start, size, at)
				}
				at = start + size
			}
			if at != n {
				t.Fatalf("parts of %d in %d end at %d", n, w, at)
			}
		}
	}
}

// Every element is in the box of exactly one rank, whatever axes cut which dim in whatever order.
func TestBoxesTileTheTensor(t *testing.T) {
	m, err := NewMesh(12, Axis{"a", 2}, Axis{"b", 3}, Axis{"c", 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]string{{"a", "b", "c"}, {"c", "a", "b"}, {"b", "c", "a"}} {
		for _, dims := range [][]int{{0, 0, 0}, {0, 1, 0}, {1, 0, 1}, {1, 1, 0}} {
			for rows := range 15 {
				for _, cols := range []int{0, 1, 4, 7} {
					l := NewLayout(m, []int{rows, cols})
					for i, axis := range order {
						l = l.Place(axis, Shard(dims[i]))
					}
					held := make([]int, rows*cols)
					for _, r := range m.Ranks() {
						at, size := l.Local(r)
						for i := range size[0] {
							for j := range size[1] {
								held[(at[0]+i)*cols+at[1]+j]++
							}
						}
					}
					if slices.ContainsFunc(held, func(n int) bool { return n != 1 }) {
						t.Fatalf("shape [%d %d], %v: elements are held %v times", rows, cols, l, held)
					}
				}
			}
		}
	}
}

func TestPaddedLocalIsTheSameOnAllRanksOfTheGroup(t *testing.T) {
	m, err := NewMesh(6, Axis{"fsdp", 3}, Axis{"tp", 2})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLayout(m, []int{7, 4}).Place("tp", Shard(0)).Place("fsdp", Shard(0))
	// tp cuts 7 rows in 4 and 3; fsdp cuts these in 2 2 0 and 1 1 1.
	for rank, want := range [][]int{{2, 4}, {1, 4}, {2, 4}, {1, 4}, {2, 4}, {1, 4}} {
		if got := l.PaddedLocal(rank, "fsdp"); !slices.Equal(got, want) {
			t.Errorf("rank %d: %v, want %v", rank, got, want)
		}
	}
	got := panicText(func() string { return fmt.Sprint(l.PaddedLocal(0, "tp")) })
	if !strings.Contains(got, "must come after those along the axes that cut dim 0 later") {
		t.Errorf("a gather along tp before fsdp: %s", got)
	}
}

func TestValuesDoNotShareMemory(t *testing.T) {
	shape := []int{8, 8}
	m, err := NewMesh(4, Axis{"a", 2}, Axis{"b", 2})
	if err != nil {
		t.Fatal(err)
	}
	base := NewLayout(m, shape).Place("a", Shard(0))
	one, two := base.Place("b", Shard(0)), base.Place("b", Shard(1))
	shape[0] = 100
	m.Axes()[0].Size = 100
	m.Ranks()[0] = 100
	if got, want := one.String(), "[Shard(0), Shard(0)] over (a=2, b=2)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if one.Equal(two) || !base.Equal(NewLayout(m, []int{8, 8}, Shard(-2), Replicate())) {
		t.Error("Equal does not tell the layouts apart")
	}
}
