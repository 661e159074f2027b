// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/launcher/gang"
)

// TestTheKernelsKillIsRecognised, and a SIGKILL of anyone else is not taken for it.
func TestTheKernelsKillIsRecognised(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
	}{
		{"the kernel's", "echo oom_kill 8 > $VMSTAT; kill -KILL $$", outOfMemory},
		{"somebody's", "kill -KILL $$", ""},
		{"another signal", "echo oom_kill 8 > $VMSTAT; kill -TERM $$", ""},
		{"an exit", "echo oom_kill 8 > $VMSTAT; exit 3", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newTestHost(t)
			host.vmstat = filepath.Join(t.TempDir(), "vmstat")
			if err := os.WriteFile(host.vmstat, []byte("pgmajfault 9\noom_kill 7\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			job := Job{Argv: []string{"sh", "-c", tt.script}, Environ: append(os.Environ(), "VMSTAT="+host.vmstat)}
			group, err := host.Start(job, gang.World{WorldSize: 1, LocalWorldSize: 1, GroupWorldSize: 1})
			if err != nil {
				t.Fatal(err)
			}
			if e := <-group.Exits(); !strings.Contains(e.Message, tt.want) || (e.Message == "") != (tt.want == "") {
				t.Errorf("message %q, want %q", e.Message, tt.want)
			}
			<-group.Done()
		})
	}
}
