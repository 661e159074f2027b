// SPDX-License-Identifier: Apache-2.0

package comm

import "fmt"

// Kind is which collective a call is, in errors and records.
type Kind uint8

// The collectives.
const (
	AllGather Kind = iota
	ReduceScatter
	AllReduce
	Broadcast
	AllToAll
	Barrier
	Kinds // how many there are
)

// String is the operation's usual name, such as "all-gather".
func (k Kind) String() string {
	names := [Kinds]string{"all-gather", "reduce-scatter", "all-reduce", "broadcast", "all-to-all", "barrier"}
	if k >= Kinds {
		return fmt.Sprintf("collective(%d)", uint8(k))
	}
	return names[k]
}

// Reduces reports whether the collective has an Op.
func (k Kind) Reduces() bool { return k == ReduceScatter || k == AllReduce }
