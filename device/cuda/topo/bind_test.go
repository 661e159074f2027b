// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"fmt"
	"strings"
	"testing"
)

// As Linux numbers them, CPU 4 is the other half of core 0: both go to one rank.
func TestSharesKeepCoresTogether(t *testing.T) {
	smt := []CPU{{0, 0, 0, 0}, {1, 0, 1, 0}, {2, 1, 0, 2}, {3, 1, 1, 2}, {4, 0, 0, 0}, {5, 0, 1, 0}, {6, 1, 0, 2}, {7, 1, 1, 2}}
	confined := []CPU{{5, 0, 2, 0}, {7, 0, 3, 0}, {9, 0, 4, 0}} // by a container
	for _, tt := range []struct {
		all  []CPU
		n    int
		want string
	}{
		{smt, 1, "[[0 1 2 3 4 5 6 7]]"},
		{smt, 2, "[[0 1 4 5] [2 3 6 7]]"},
		{smt, 4, "[[0 4] [1 5] [2 6] [3 7]]"},
		{smt, 3, "[[0 4] [1 2 5] [3 6 7]]"},
		{smt, 8, "[[0] [4] [1] [5] [2] [6] [3] [7]]"},
		{confined, 2, "[[5] [7 9]]"},
	} {
		got, err := Shares(tt.all, tt.n)
		if err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%d ranks: %v, %v, want %s", tt.n, got, err, tt.want)
		}
	}
	if _, err := Shares(confined, 4); err == nil || !strings.Contains(err.Error(), "4 ranks on the 3 CPUs") {
		t.Errorf("4 ranks on 3 CPUs: %v", err)
	}
}
