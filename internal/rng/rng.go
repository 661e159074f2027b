// SPDX-License-Identifier: Apache-2.0

// Package rng makes random numbers from counters: each is a function of a seed, the name of what it is for, and an index. Nothing has
// state, so a rank fills only its part of a tensor and gets the values that a single rank would have got, and a run can be taken up
// again anywhere.
//
// A [Sequence] is the numbers of one name, such as a parameter's; use it to initialise. A [Perm] is a shuffled order of [0, n) that is
// never stored; use it to visit the parts of a data set once each.
//
//	w := rng.New(seed, "layers.0.attention.wq.weight")
//	w.Normal(shard, offset, 0, 0.02) // elements offset, offset+1, … of the tensor
//	order := rng.Perm{Key: seed, N: windows}
//	first := order.At(0)
//
// The generator is Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011: it is made for
// counters, passes the BigCrush tests, and is what CUDA's libraries and PyTorch's GPU kernels use, so a kernel on a device can draw the same.
package rng

import (
	"hash/fnv"
	"math/bits"
)

// Sequence is the random numbers of one name under one seed. It is a value; all its methods are pure.
type Sequence struct {
	seed, id uint64
}

// New is the stream of a name. Streams of different names or seeds are independent.
func New(seed uint64, name string) Sequence {
	h := fnv.New64a()
	h.Write([]byte(name)) // a hash.Hash never fails
	return Sequence{seed, h.Sum64()}
}

// Uint32 is the number at index i, each value equally likely.
func (s Sequence) Uint32(i uint64) uint32 {
	return s.block(i / 4)[i%4]
}

// Uint64 is the numbers at indices 2i and 2i+1 as one.
func (s Sequence) Uint64(i uint64) uint64 {
	return uint64(s.Uint32(2*i)) | uint64(s.Uint32(2*i+1))<<32
}

// uniform is x as a multiple of 2^-32 plus half of that: in (0, 1), symmetric about a half.
func uniform(x uint32) float64 { return (float64(x) + 0.5) * 0x1p-32 }

// block is the four numbers at indices 4i to 4i+3.
func (s Sequence) block(i uint64) [4]uint32 {
	return philox([4]uint32{uint32(i), uint32(i >> 32), uint32(s.id), uint32(s.id >> 32)}, [2]uint32{uint32(s.seed), uint32(s.seed >> 32)})
}

// philox is Philox4x32-10: ten rounds of two multiplications, with the key moved on by Weyl sequences.
func philox(ctr [4]uint32, key [2]uint32) [4]uint32 {
	const (
		m0, m1 = 0xD2511F53, 0xCD9E8D57 // multipliers
		w0, w1 = 0x9E3779B9, 0xBB67AE85 // golden ratio, √3 − 1
	)
	for range 10 {
		h0, l0 := bits.Mul32(m0, ctr[0])
		h1, l1 := bits.Mul32(m1, ctr[2])
		ctr = [4]uint32{h1 ^ ctr[1] ^ key[0], l1, h0 ^ ctr[3] ^ key[1], l0}
		key[0] += w0
		key[1] += w1
	}
	return ctr
}
