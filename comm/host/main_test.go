// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also runs the ranks of process_test.go, which are this binary
// again.
func TestMain(m *testing.M) {
	if os.Getenv(envScenario) != "" {
		os.Exit(rankMain())
	}
	goleak.VerifyTestMain(m)
}
