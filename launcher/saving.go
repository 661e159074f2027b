// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"fmt"
	"os"
	"path/filepath"
)

// RunDirVar tells ranks, and all that they start, of a folder of octet's launcher.
const RunDirVar = "OCTET_RUN_DIR"

// SavingFile is what a rank writes to in that folder while it saves.
func SavingFile(dir string, localRank int) string {
	return filepath.Join(dir, fmt.Sprintf("saving-%d", localRank))
}

// Saving tells octet's launcher that this rank, which was told to stop, still saves what it has done, and is not to be killed for the next
// few seconds. Under another launcher it does nothing.
func Saving(place Place) error {
	dir := os.Getenv(RunDirVar)
	if dir == "" {
		return nil
	}
	return os.WriteFile(SavingFile(dir, place.LocalRank), []byte("saving\n"), 0o666)
}
