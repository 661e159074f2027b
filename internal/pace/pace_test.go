// SPDX-License-Identifier: Apache-2.0

package pace_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"octet/internal/pace"
)

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due := pace.Every(2 * time.Second)
		var at []int
		for second := range 8 {
			if due() {
				at = append(at, second)
			}
			if due() {
				t.Errorf("twice at %d s", second)
			}
			time.Sleep(time.Second)
		}
		if fmt.Sprint(at) != "[2 4 6]" {
			t.Errorf("due at %v s, want 2, 4, 6", at)
		}
	})
}
