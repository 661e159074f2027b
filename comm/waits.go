// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"fmt"
	"slices"
	"strings"
)

// Wait is a call of a rank that stands still until another rank does its part.
type Wait struct {
	Call string
	For  int // the rank of the world
}

// Follow follows what ranks that have not come wait for themselves, in other groups, to those that wait for nobody, and says by which
// way: "; rank 1 waits for rank 2 in barrier #3 of tp". Where there are none, as in a circle, it is the ranks. self is who asks; waits
// are those of each of some ranks. A wait for a rank that is not in the world, of so many ranks, is not followed.
func Follow(ranks []int, self, world int, waits func(ranks []int) [][]Wait) (culprits []int, way string) {
	var text strings.Builder
	seen := slices.Clone(ranks)
	for next := ranks; len(next) > 0; {
		asked := next
		next = nil
		for i, its := range waits(asked) {
			if len(its) == 0 {
				culprits = append(culprits, asked[i])
			}
			for _, w := range its {
				if w.For < 0 || w.For >= world {
					continue
				}
				fmt.Fprintf(&text, "; rank %d waits for rank %d in %s", asked[i], w.For, w.Call)
				if w.For != self && !slices.Contains(seen, w.For) {
					seen, next = append(seen, w.For), append(next, w.For)
				}
			}
		}
	}
	if len(culprits) == 0 || slices.Equal(culprits, ranks) {
		return ranks, ""
	}
	return culprits, text.String()
}
