// SPDX-License-Identifier: Apache-2.0

package group

import (
	"encoding/json"
	"slices"
	"sync"

	"octet/comm"
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

// answer lists them.
func (w *waits) answer() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []comm.Wait
	for _, c := range w.calls {
		if r := c.waiting.Load(); r > 0 {
			all = append(all, comm.Wait{Call: c.title(), For: int(r - 1)})
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // of strings and numbers
	}
	return text
}

// behindThem asks them whom they wait for (comm.Follow).
func (g *Group) behindThem(ranks []int) (culprits []int, way string) {
	return comm.Follow(ranks, g.self(), g.waits.world, func(asked []int) [][]comm.Wait {
		all := make([][]comm.Wait, len(asked))
		for i, text := range g.net.Ask(asked, rollPatience) {
			if json.Unmarshal(text, &all[i]) != nil { // it does not answer, or something else
				all[i] = nil
			}
		}
		return all
	})
}
