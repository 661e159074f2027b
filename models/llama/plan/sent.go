// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"octet/comm"
	"octet/comm/record"
	"octet/dtype"
)

// Sent is what a rank asks of one group in a step.
type Sent struct {
	Group string // by name: the axes of the mesh, or what it is for
	Ranks int
	Kind  comm.Kind
	Calls int
	Bytes map[dtype.Type]int64 // of the rank's contribution, as record counts them
}

// sent are those of a step, in the order in which groups were first called.
type sent []Sent

// add counts calls that are made so many times.
func (s *sent) add(calls []record.Call, times int) {
	for _, c := range calls {
		if c.Ranks == 1 {
			continue // alone there is nobody to send to
		}
		at := slices.IndexFunc(*s, func(o Sent) bool { return o.Group == c.Group && o.Ranks == c.Ranks && o.Kind == c.Kind })
		if at < 0 {
			at = len(*s)
			*s = append(*s, Sent{Group: c.Group, Ranks: c.Ranks, Kind: c.Kind, Bytes: map[dtype.Type]int64{}})
		}
		one := &(*s)[at]
		one.Calls += times
		for _, p := range c.Parts {
			one.Bytes[p.Type] += int64(times) * int64(p.Elems) * int64(p.Type.Size())
		}
	}
}

// String is a line such as "all-gather in groups of 8 (fsdp): 12 calls, 4096 bytes of bfloat16".
func (s Sent) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v in groups of %d (%s): %d calls", s.Kind, s.Ranks, s.Group, s.Calls)
	for _, t := range s.types() {
		fmt.Fprintf(&b, ", %d bytes of %v", s.Bytes[t], t)
	}
	return b.String()
}

// types are those of what travels.
func (s Sent) types() []dtype.Type { return slices.Sorted(maps.Keys(s.Bytes)) }

// listed has a line for each, and one for all that a rank sends in a step.
func listed(all []Sent) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "sends   %v\n", s)
	}
	fmt.Fprintf(&b, "sends   %d bytes a step\n", Total(all))
	return b.String()
}

// Total is all that a rank sends in a step, in bytes.
func Total(all []Sent) (bytes int64) {
	for _, s := range all {
		for _, n := range s.Bytes {
			bytes += n
		}
	}
	return bytes
}

// Travels says in which types what the ranks of a group send one another in a step travels: "all-gather of bfloat16, float8_e4m3fn (fsdp);
// reduce-scatter of float32 (fsdp.reduce)". It is empty where nobody sends anything.
func (r *Run) Travels() (string, error) {
	_, _, all, err := r.dry(0)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, s := range all {
		var types []string
		for _, t := range s.types() {
			types = append(types, t.String())
		}
		parts = append(parts, fmt.Sprintf("%v of %s (%s)", s.Kind, strings.Join(types, ", "), s.Group))
	}
	return strings.Join(parts, "; "), nil
}
