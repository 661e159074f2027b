// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWhatComputesGivesWay: threads of the stream "compute", helpers too, have the longer slice, and those of others do not.
func TestWhatComputesGivesWay(t *testing.T) {
	var release unix.Utsname
	if err := unix.Uname(&release); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	slices := func(stream string) (all [2]time.Duration) {
		s := d.NewStream(stream).(*Stream)
		s.do(func() {
			var both sync.WaitGroup // each piece waits for the other, so that two threads run them
			both.Add(2)
			s.workers.run(2, func(i int) {
				both.Done()
				both.Wait()
				attr, err := unix.SchedGetAttr(0, 0)
				if err != nil {
					t.Error(err)
					return
				}
				all[i] = time.Duration(attr.Runtime)
			})
		})
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if other := slices("all-gather"); other[0] >= computeSlice || other[1] >= computeSlice {
		t.Errorf("slices of a stream that others wait for are %v", other)
	}
	got := slices("compute")
	if got[0] == 0 {
		t.Skipf("Linux %s has no slices", unix.ByteSliceToString(release.Release[:]))
	}
	if want := [2]time.Duration{computeSlice, computeSlice}; got != want {
		t.Errorf("slices of threads that compute are %v, want %v", got, want)
	}
}
