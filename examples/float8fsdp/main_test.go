// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheModelLearnsToCount(t *testing.T) {
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	var first, last float64
	if _, err := fmt.Sscanf(out.String(), "step 1: loss %f\nstep 30: loss %f", &first, &last); err != nil {
		t.Fatalf("%v in %q", err, &out)
	}
	if !(first > 4 && last < 0.5) {
		t.Errorf("the loss went from %v to %v; it starts near ln 64 and ends near 0", first, last)
	}
}
