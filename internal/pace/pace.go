// SPDX-License-Identifier: Apache-2.0

// Package pace says when it is time again to tell how far long work is: often enough to be
// watched, seldom enough to be read.
//
//	due := pace.Every(2 * time.Second)
//	for … {
//		if due() {
//			say(…)
//		}
//	}
package pace

import (
	"sync"
	"time"
)

// Every returns a function that is true once in d, and not before d has passed. It may be
// called from any goroutine.
func Every(d time.Duration) func() bool {
	var mu sync.Mutex
	last := time.Now()
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < d {
			return false
		}
		last = time.Now()
		return true
	}
}
