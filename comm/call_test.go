// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"testing"

	"octet/dtype"
)

func TestCallText(t *testing.T) {
	type tensors struct {
		t dtype.Type
		n int
	}
	for _, tt := range []struct {
		call Call
		of   []tensors
		want string
	}{
		{Call{Kind: Barrier}, nil, "barrier"},
		{Call{Kind: AllReduce, Op: Max}, []tensors{{dtype.Float32, 3}}, "all-reduce max of float32[3] (12 bytes)"},
		{Call{Kind: Broadcast, Root: 2}, []tensors{{dtype.BFloat16, 3}}, "broadcast from rank 2 of bfloat16[3] (6 bytes)"},
		{Call{Kind: AllGather}, nil, "all-gather of 0 tensors, (0 bytes)"},
		{
			Call{Kind: AllGather},
			[]tensors{{dtype.Float8E4M3, 1}, {dtype.Float32, 2}, {dtype.Uint8, 3}, {dtype.Int32, 4}, {dtype.Int32, 5}},
			"all-gather of 5 tensors, float8_e4m3fn[1] float32[2] uint8[3] int32[4] and more, (48 bytes)",
		},
	} {
		c := tt.call
		for _, x := range tt.of {
			c.add(x.t, x.n)
		}
		if got := c.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func FuzzCallEncoding(f *testing.F) {
	c := Call{Kind: ReduceScatter, Op: Max, Root: 3, Seq: 1 << 40}
	c.add(dtype.BFloat16, 1<<33)
	b := make([]byte, CallBytes)
	c.Encode(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < CallBytes {
			return
		}
		c := DecodeCall(b)
		again := make([]byte, CallBytes)
		c.Encode(again)
		if d := DecodeCall(again); c != d {
			t.Errorf("%+v became %+v", c, d)
		}
		_ = c.String() // whatever a peer sends can be shown
	})
}
