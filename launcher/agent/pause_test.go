// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"
)

func TestPausesCountWhatIsMoreThanABeat(t *testing.T) {
	start := time.Unix(1000, 0)
	p := pauses{time.Second, start}
	for _, tt := range []struct{ at, want time.Duration }{ // since start
		{500 * time.Millisecond, 0},
		{2500 * time.Millisecond, 0}, // a busy machine
		{10500 * time.Millisecond, 7 * time.Second},
		{11 * time.Second, 0},
	} {
		if got := p.at(start.Add(tt.at)); got != tt.want {
			t.Errorf("at %v: %v, want %v", tt.at, got, tt.want)
		}
	}
}

// Who was silent while this process was stopped has its time again.
func TestVigilBeginsAgainAfterAPause(t *testing.T) {
	start := time.Unix(1000, 0)
	v := newVigil(start, time.Second, 5*time.Second)
	for _, tt := range []struct{ at, left time.Duration }{ // since start
		{time.Second, 4 * time.Second},
		{3 * time.Second, 2 * time.Second},
		{60 * time.Second, 5 * time.Second},
		{62 * time.Second, 3 * time.Second},
		{64 * time.Second, time.Second},
		{65 * time.Second, 0},
	} {
		if got := v.left(start.Add(tt.at)); got != tt.left {
			t.Errorf("at %v: %v left, want %v", tt.at, got, tt.left)
		}
	}
}
