// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

import (
	"fmt"
	"testing"
)

// TestWhoeverIsWaitedForIsNamed, not who waits for it elsewhere. Rank 0 asks, for whom rank 1 has not come, or 1 and 2.
func TestWhoeverIsWaitedForIsNamed(t *testing.T) {
	in := func(group string, started, finished uint64, members ...int) progress {
		return progress{Group: group, Members: members, Started: started, Finished: finished, Call: fmt.Sprintf("barrier #%d of %s", started, group)}
	}
	idle := groups{}
	for _, tt := range []struct {
		name     string
		behind   []int
		standing []groups
		want     string
	}{
		{"it waits for nobody", []int{1}, []groups{idle, {in("tp", 3, 3, 1, 2)}, idle, idle}, "[1]"},
		{"it waits for another", []int{1}, []groups{idle, {in("tp", 3, 2, 1, 2)}, {in("tp", 2, 2, 1, 2)}, idle}, "[2]; rank 1 waits for rank 2 in barrier #3 of tp"},
		{"who has never been there", []int{1}, []groups{idle, {in("tp", 1, 0, 1, 2)}, nil, idle}, "[2]; rank 1 waits for rank 2 in barrier #1 of tp"},
		{"by two ways to one", []int{1, 2}, []groups{idle, {in("a", 1, 0, 1, 3)}, {in("b", 5, 4, 2, 3)}, {in("b", 4, 4, 2, 3)}},
			"[3]; rank 1 waits for rank 3 in barrier #1 of a; rank 2 waits for rank 3 in barrier #5 of b"},
		{"by one that waits itself", []int{1}, []groups{idle, {in("a", 1, 0, 1, 2)}, {in("b", 1, 0, 2, 3)}, idle},
			"[3]; rank 1 waits for rank 2 in barrier #1 of a; rank 2 waits for rank 3 in barrier #1 of b"},
		{"all of its group are there", []int{1}, []groups{idle, {in("a", 1, 0, 1, 2)}, {in("a", 1, 0, 1, 2)}, idle}, "[1]"},
		{"in a circle", []int{1}, []groups{idle, {in("a", 1, 0, 1, 2)}, {in("b", 1, 0, 1, 2)}, idle}, "[1]"},
		{"for who asks", []int{1}, []groups{idle, {in("a", 1, 0, 0, 1)}, idle, idle}, "[1]"},
		{"for who is not there", []int{1}, []groups{idle, {in("a", 1, 0, 1, 4, -1)}, idle, idle}, "[1]"},
	} {
		ranks, way := behindThem(tt.behind, 0, tt.standing)
		if got := fmt.Sprint(ranks, way); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
