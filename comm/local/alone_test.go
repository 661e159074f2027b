// SPDX-License-Identifier: Apache-2.0

package local_test

import (
	"bytes"
	"strings"
	"testing"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/local"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// foreign is a stream of a device whose memory the host cannot touch. It counts
// what is copied on it.
type foreign struct {
	device.Stream
	copied int
}

func (s *foreign) Copy(dst, src *tensor.Tensor) {
	s.copied += src.Bytes()
	s.Stream.Copy(dst, src)
}

// TestAGroupOfOneWorksOnAnyDevice: it asks its stream to copy, and only where
// source and destination are different memory.
func TestAGroupOfOneWorksOnAnyDevice(t *testing.T) {
	e := alone(t)
	s := &foreign{Stream: e.Stream}
	bits := commtest.Draw(dtype.Float32, 12, 0, 1)
	x, y := e.Put(bits), e.New(dtype.Float32, 3, 4)
	for _, tt := range []struct {
		name   string
		call   func(dst *tensor.Tensor)
		copies bool
	}{
		{"all-gather", func(dst *tensor.Tensor) { e.AllGather(s, comm.T(dst), comm.T(x)) }, true},
		{"reduce-scatter", func(dst *tensor.Tensor) { e.ReduceScatter(s, comm.T(dst), comm.T(x), comm.Sum) }, true},
		{"all-to-all", func(dst *tensor.Tensor) { e.AllToAll(s, comm.T(dst), comm.T(x)) }, true},
		{"all-reduce", func(*tensor.Tensor) { e.AllReduce(s, comm.T(x, x), comm.Max) }, false},
		{"broadcast", func(*tensor.Tensor) { e.Broadcast(s, x, 0) }, false},
		{"barrier", func(*tensor.Tensor) { e.Barrier(s) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.Stream.Zero(y)
			s.copied = 0
			tt.call(y)
			tt.call(x)
			want := 0
			if tt.copies {
				want = len(bits.Bytes)
				if got, err := e.Get(y); err != nil || !bytes.Equal(got.Bytes, bits.Bytes) {
					t.Errorf("the result is %x (%v), want %x", got.Bytes, err, bits.Bytes)
				}
			}
			if s.copied != want {
				t.Errorf("into other memory and in place, %d bytes were copied, want %d", s.copied, want)
			}
			if got, err := e.Get(x); err != nil || !bytes.Equal(got.Bytes, bits.Bytes) {
				t.Errorf("the source is now %x (%v), want %x", got.Bytes, err, bits.Bytes)
			}
		})
	}
	for name, call := range map[string]func(){
		"all-gather":     func() { e.AllGather(s, comm.T(y), comm.T(e.New(dtype.Float32, 11))) },
		"reduce-scatter": func() { e.ReduceScatter(s, comm.T(y), nil, comm.Sum) },
		"all-reduce":     func() { e.AllReduce(s, comm.T(e.New(dtype.Uint8, 1)), comm.Sum) },
		"broadcast":      func() { e.Broadcast(s, x, 1) },
	} {
		t.Run("wrong "+name, func(t *testing.T) {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, name) {
					t.Errorf("panic %q, want one about the %s", p, name)
				}
			}()
			call()
		})
	}
}

// TestLargerGroupsSayWhatTheyNeed of a stream.
func TestLargerGroupsSayWhatTheyNeed(t *testing.T) {
	e := commtest.NewEnv(open(t, 2, local.Options{})[0], commtest.Promises{})
	defer e.Close()
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "barrier among 2 ranks on a *local_test.foreign, which is not a host stream") {
			t.Errorf("panic %q", p)
		}
	}()
	e.Barrier(&foreign{Stream: e.Stream})
}
