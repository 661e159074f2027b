// SPDX-License-Identifier: Apache-2.0

package comm

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
	return [...]string{"all-gather", "reduce-scatter", "all-reduce", "broadcast", "all-to-all", "barrier"}[k]
}

// Reduces reports whether the collective has an Op.
func (k Kind) Reduces() bool { return k == ReduceScatter || k == AllReduce }
