// SPDX-License-Identifier: Apache-2.0

package rng

import (
	"fmt"
	"math/bits"
)

// Perm is a pseudo-random permutation of [0, N), given by a key and evaluated point by point.
//
// It is a Feistel network on the smallest even number of bits that holds N, walked until it lands below N again: Black and Rogaway,
// "Ciphers with Arbitrary Finite Domains", CT-RSA 2002, sections 4 and 5. That takes fewer than four evaluations on average.
type Perm struct {
	Key, N uint64
}

// rounds of the network. Four are indistinguishable from random for large halves (Luby and Rackoff); the few bits of a small N need more.
const rounds = 8

// At is the value at position i, which must be below N.
func (p Perm) At(i uint64) uint64 {
	if i >= p.N {
		panic(fmt.Sprintf("rng: position %d of a permutation of %d", i, p.N))
	}
	half := max(1, (bits.Len64(p.N-1)+1)/2)
	for {
		i = p.feistel(i, half)
		if i < p.N {
			return i
		}
	}
}

// feistel permutes the numbers of 2·half bits.
func (p Perm) feistel(x uint64, half int) uint64 {
	mask := uint64(1)<<half - 1
	left, right := x>>half, x&mask
	for r := range uint64(rounds) {
		left, right = right, left^mix(p.Key+mix(right+r<<32))&mask
	}
	return left<<half | right
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection in which each bit depends on all others.
func mix(z uint64) uint64 {
	z += 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
