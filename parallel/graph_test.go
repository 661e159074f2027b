// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"strings"
	"testing"

	"octet/parallel"
)

// TestADeviceWithoutGraphsSaysSoOnce: and steps are what they are without. test/multigpu has those that are captured.
func TestADeviceWithoutGraphsSaysSoOnce(t *testing.T) {
	losses := func(g *parallel.Graph) (all [5]float64) {
		u := newUser(t).init()
		for i := range all {
			r, err := u.m.Step(parallel.StepOptions{Optimizer: u.adam, LR: 1e-2, Count: 4, Graph: g}, u.loss).Wait()
			u.must(err)
			all[i] = r.Loss
		}
		return all
	}
	want, told := losses(nil), []string{}
	g := &parallel.Graph{Tell: func(why error) { told = append(told, why.Error()) }}
	if got := losses(g); got != want || got[4] == got[0] {
		t.Errorf("losses %v, without a graph %v", got, want)
	}
	if len(told) != 1 || !strings.HasSuffix(told[0], "captures no graphs") || g.Captured() {
		t.Errorf("told %q, captured: %v", told, g.Captured())
	}
}
