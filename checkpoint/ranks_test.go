// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAFileThatIsWrittenIsWaitedFor though it has its full size from the start, for longer than nothing is waited for, and
// what watches over the ranks hears that they live.
func TestAFileThatIsWrittenIsWaitedFor(t *testing.T) {
	const patience, writes = time.Second, 8
	dir := t.TempDir()
	alive := 0
	r := Ranks{World: 2, Patience: patience, Alive: func() { alive++ }}
	ended := make(chan error, 1)
	go func() {
		f, err := os.Create(filepath.Join(dir, "weights"))
		if err == nil {
			defer f.Close()
			err = f.Truncate(writes)
		}
		for i := 0; err == nil && i < writes; i++ {
			time.Sleep(patience / 4)
			_, err = f.WriteAt([]byte{1}, int64(i))
		}
		if err == nil {
			err = Ranks{Rank: 1, World: 2}.Report(dir, []byte("done"))
		}
		ended <- err
	}()
	var got string
	if err := r.Collect(dir, nil, func(text []byte) error { got = string(text); return nil }); err != nil || got != "done" {
		t.Errorf("%q, %v", got, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if alive < writes/2 {
		t.Errorf("%d signs of life in %d writes", alive, writes)
	}
}
