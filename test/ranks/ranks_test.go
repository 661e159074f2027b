// SPDX-License-Identifier: Apache-2.0

package ranks

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"octet/comm"
	"octet/device"
	"octet/dtype"
)

// TestRanksComputeTogether on the device of the tests.
func TestRanksComputeTogether(t *testing.T) {
	Run(t, 3, Options{}, func(r *Rank) error {
		s := r.Device.NewStream("test")
		x := device.NewPool(r.Device).New(dtype.Float32, 1)
		s.Upload(x, device.Float32Bytes([]float32{float32(r.Rank)}))
		r.World.AllReduce(s, comm.T(x), comm.Sum)
		var got [1]float32
		s.Download(device.Float32Bytes(got[:]), x)
		if err := s.Sync(); err != nil {
			return err
		}
		if got[0] != 3 {
			return fmt.Errorf("0+1+2 = %v", got[0])
		}
		return nil
	})
}

// TestOneThatFailsAbortsTheOthers: none waits for the deadline.
func TestOneThatFailsAbortsTheOthers(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func() error
		says string
	}{
		{"an error", func() error { return errors.New("loss is NaN") }, "loss is NaN"},
		{"a panic", func() error { panic("no such shape") }, "panic: no such shape\ngoroutine "},
		{"a rank that leaves", func() error { runtime.Goexit(); return nil }, "left its goroutine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			errs := Each(Open(t, 3, Options{Timeout: time.Hour}), func(r *Rank) error {
				if r.Rank == 1 {
					return tt.fail()
				}
				s, behind := r.Device.NewStream("test"), r.Device.NewStream("behind")
				r.World.Barrier(s)
				behind.Wait(s.Record()) // has the error too, which the test's end does not tell again
				return s.Sync()
			})
			for rank, err := range errs {
				want := "aborted by rank 1: " + tt.says
				if rank == 1 {
					want = tt.says
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("rank %d: error %v, want %q", rank, err, want)
				}
			}
			t.Log(time.Since(start))
		})
	}
}

// failures is a test that is watched.
type failures struct {
	testing.TB
	said []string
	skip bool
}

func (f *failures) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}
func (f *failures) Fatalf(format string, args ...any) { f.Errorf(format, args...); runtime.Goexit() }
func (f *failures) Skipf(format string, args ...any) {
	f.skip = true
	f.Fatalf(format, args...)
}

// watch runs a test's body and returns what it said.
func watch(t *testing.T, body func(t testing.TB)) *failures {
	f := &failures{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		body(f)
	}()
	<-done
	return f
}

func TestRunReportsEachRank(t *testing.T) {
	f := watch(t, func(t testing.TB) {
		Run(t, 2, Options{}, func(r *Rank) error {
			if r.Rank == 0 {
				return nil
			}
			return errors.New("odd")
		})
	})
	if got := strings.Join(f.said, "; "); got != "rank 1: odd" {
		t.Errorf("the test said %q, want only what rank 1 returned", got)
	}
}

func TestAWrongDeviceFailsAndALackingPartSkips(t *testing.T) {
	t.Setenv(DeviceVar, "abacus")
	for name, open := range map[string]func(testing.TB){
		"Device": func(t testing.TB) { Device(t, Options{}) },
		"Open":   func(t testing.TB) { Open(t, 2, Options{}) },
	} {
		f := watch(t, open)
		if want := `OCTET_TEST_DEVICE="abacus": there is no device "abacus" in this build; there is: cpu, cuda`; f.skip || len(f.said) != 1 || f.said[0] != want {
			t.Errorf("%s: the test said %q (skipped: %v), want %q", name, f.said, f.skip, want)
		}
	}
	t.Setenv(DeviceVar, "")
	lacking := 0
	for _, isa := range []string{"portable", "avx2", "avx512", "avx512fp16", "avx512bf16", "amxbf16"} {
		f := watch(t, func(t testing.TB) { Device(t, Options{ISA: isa}) })
		if len(f.said) > 0 {
			lacking++
			if !f.skip || !strings.Contains(f.said[0], "this machine") {
				t.Errorf("%s: the test said %q (skipped: %v), want a skip that says what is lacking", isa, f.said, f.skip)
			}
		}
	}
	t.Logf("%d of 5 instruction sets are lacking", lacking)
}
