// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// runCheckpoint is `octet checkpoint`, and its first argument what is done.
func runCheckpoint(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "convert" {
		return usageError{fmt.Errorf("checkpoint: want convert")}
	}
	return runConvert(ctx, args[1:])
}
