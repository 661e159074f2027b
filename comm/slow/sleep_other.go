// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package slow

import "time"

// sleep returns at a time, or up to 1 ms later.
func sleep(until time.Time) { time.Sleep(time.Until(until)) }
