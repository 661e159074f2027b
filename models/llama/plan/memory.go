// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"octet/config"
)

// Memory is what a rank takes of its device at most, in bytes.
type Memory struct {
	State       int // weights, their gradients and moments: the rank's shards, float32
	Units       int // gathered weights, whole gradients, and what is reduced
	Activations int // what forward keeps for backward, and the gradients there
	Total       int // all of it, with batches, scales and the like
}

// String is its parts, such as print_plan shows them.
func (m Memory) String() string {
	return fmt.Sprintf("%d bytes of weights, gradients and moments, %d of what units gather and reduce, %d of activations", m.State, m.Units, m.Activations)
}

// Memory is that of rank 0, of which the others have no more. It is counted, not
// estimated: see dry.
func (r *Run) Memory() (Memory, error) {
	_, memory, _, err := r.dry(0)
	return memory, err
}

// Costs says what a rank's memory goes to, what activations would take in each activation_checkpoint.mode, and what a step sends, in which types.
func (r *Run) Costs() (string, error) {
	_, own, sent, err := r.dry(0)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "memory  of each rank at most: %v\n", own)
	b.WriteString("memory  activations by mode:")
	for i, mode := range []config.ActivationCheckpoint{{Mode: "none"}, {Mode: "selective", SelectiveACOption: "2"}, {Mode: "selective", SelectiveACOption: "op"}, {Mode: "full"}} {
		other := *r
		if other.Plan.Recompute = recompute(mode); other.Plan.Recompute != nil && other.Plan.Recompute.Every > r.Args.Layers {
			continue // there is none
		}
		m, err := other.Memory()
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %d", strings.TrimSpace(mode.Mode+" "+mode.SelectiveACOption), m.Activations)
	}
	b.WriteString(" bytes\n")
	b.WriteString(listed(sent))
	return b.String(), nil
}
