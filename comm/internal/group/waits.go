// SPDX-License-Identifier: Apache-2.0

package group

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// waits are the collectives that a rank is in, of all its groups: what it answers where another one has waited for it too long.
type waits struct {
	world int // ranks
	mu    sync.Mutex
	calls []*call
}

func (w *waits) begin(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, c)
}

func (w *waits) end(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.Index(w.calls, c)
	w.calls[at] = w.calls[len(w.calls)-1]
	w.calls = w.calls[:len(w.calls)-1]
}

// wait is a collective that stands still until another rank does its part.
type wait struct {
	Call string
	For  int // the rank of the world
}

// answer lists them.
func (w *waits) answer() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []wait
	for _, c := range w.calls {
		if r := c.waiting.Load(); r > 0 {
			all = append(all, wait{c.title(), int(r - 1)})
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // of strings and numbers
	}
	return text
}

// behindThem follows what ranks that have not come wait for themselves, in other groups, to those that wait for nobody, and says by which way. Where there are none,
// as in a circle, it is the ranks.
func (g *Group) behindThem(ranks []int) (culprits []int, way string) {
	var said []string
	seen := slices.Clone(ranks)
	for next := ranks; len(next) > 0; {
		asked := next
		next = nil
		for i, text := range g.net.Ask(asked, rollPatience) {
			var its []wait
			if text == nil || json.Unmarshal(text, &its) != nil || len(its) == 0 { // or it answers something else
				culprits = append(culprits, asked[i])
				continue
			}
			for _, w := range its {
				if w.For < 0 || w.For >= g.waits.world {
					continue
				}
				said = append(said, fmt.Sprintf("; rank %d waits for rank %d in %s", asked[i], w.For, w.Call))
				if w.For != g.self() && !slices.Contains(seen, w.For) {
					seen, next = append(seen, w.For), append(next, w.For)
				}
			}
		}
	}
	if len(culprits) == 0 || slices.Equal(culprits, ranks) {
		return ranks, ""
	}
	return culprits, strings.Join(said, "")
}
