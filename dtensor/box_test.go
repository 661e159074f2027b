// SPDX-License-Identifier: Apache-2.0

package dtensor_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"octet/dtensor"
)

// TestOverlapIsWhatBoxesShare, element by element, of random boxes of tensors of
// zero to four dims, and in as few stretches as memory allows.
func TestOverlapIsWhatBoxesShare(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		shape := make([]int, random.IntN(5))
		for i := range shape {
			shape[i] = 1 + random.IntN(5)
		}
		a, b := randomBox(random, shape), randomBox(random, shape)
		// Of each element of a where it is in b, or -1.
		inB := map[int]int{}
		for i, at := range elements(b) {
			inB[flat(at, shape)] = i
		}
		want := make([]int, a.Numel())
		for i, at := range elements(a) {
			want[i] = -1
			if j, ok := inB[flat(at, shape)]; ok {
				want[i] = j
			}
		}
		got := slices.Repeat([]int{-1}, a.Numel())
		end, endB := -1, -1
		a.Overlap(b, func(inA, inB, n int) {
			if n <= 0 {
				t.Fatalf("%v and %v: a stretch of %d", a, b, n)
			}
			if inA == end && inB == endB {
				t.Errorf("%v and %v: two stretches where one would do", a, b)
			}
			end, endB = inA+n, inB+n
			for i := range n {
				got[inA+i] = inB + i
			}
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%v and %v of %v: %v, want %v", a, b, shape, got, want)
		}
	}
}

func randomBox(random *rand.Rand, shape []int) dtensor.Box {
	b := dtensor.Whole(shape)
	for i, n := range shape {
		if random.IntN(2) == 0 {
			b.Lo[i] = random.IntN(n + 1)
			b.Hi[i] = b.Lo[i] + random.IntN(n+1-b.Lo[i])
		}
	}
	return b
}

// elements are the indices of a box's elements in the order of its memory.
func elements(b dtensor.Box) [][]int {
	all := [][]int{{}}
	for dim := range b.Lo {
		var next [][]int
		for _, at := range all {
			for i := b.Lo[dim]; i < b.Hi[dim]; i++ {
				next = append(next, append(slices.Clone(at), i))
			}
		}
		all = next
	}
	return all
}

func flat(at, shape []int) (n int) {
	for i := range at {
		n = n*shape[i] + at[i]
	}
	return n
}

// TestPrimariesTileATensor: over all ranks, the boxes of the primary ones have every
// element once, however many axes cut it or repeat it.
func TestPrimariesTileATensor(t *testing.T) {
	mesh, err := dtensor.NewMesh(12, dtensor.Axis{Name: "a", Size: 2}, dtensor.Axis{Name: "b", Size: 3}, dtensor.Axis{Name: "c", Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	shape := []int{7, 5}
	choices := []dtensor.Placement{dtensor.Replicate(), dtensor.Shard(0), dtensor.Shard(1)}
	for i := range 27 {
		l := dtensor.NewLayout(mesh, shape, choices[i%3], choices[i/3%3], choices[i/9])
		count := make([]int, 35)
		for rank := range 12 {
			if l.Primary(rank) {
				l.Box(rank).Overlap(dtensor.Whole(shape), func(_, at, n int) {
					for k := range n {
						count[at+k]++
					}
				})
			}
		}
		if !slices.Equal(count, slices.Repeat([]int{1}, 35)) {
			t.Errorf("%v: %v", l, count)
		}
	}
}
