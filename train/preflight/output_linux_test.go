// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestADumpFolderThatCannotBeWrittenToIsRefused, whoever runs the test: root may
// write anywhere, so its thread asks as nobody.
func TestADumpFolderThatCannotBeWrittenToIsRefused(t *testing.T) {
	if os.Getuid() == 0 {
		const nobody, asBefore = 65534, ^uintptr(0)
		runtime.LockOSThread() // for good: the thread ends with the test
		if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, nobody, asBefore, asBefore); err != 0 {
			t.Skipf("root that may not ask as nobody: %v", err)
		}
	}
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	for mode, want := range map[os.FileMode]string{
		0o777: "",
		0o555: fmt.Sprintf("job.dump_folder = %q: %s: permission denied; name a folder that can be written to", folder+"/out", folder),
	} {
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
		err := checked(t, append(goldenArgs(""), "--job.dump_folder="+folder+"/out"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("mode %v: error %v, want %q", mode, err, want)
		}
	}
}
