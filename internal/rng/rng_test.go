// SPDX-License-Identifier: Apache-2.0

package rng

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// The vectors of Random123, the authors' own implementation (file kat_vectors).
func TestPhiloxKnownAnswers(t *testing.T) {
	const all = 0xffffffff
	for _, tt := range []struct {
		ctr  [4]uint32
		key  [2]uint32
		want [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		if got := philox(tt.ctr, tt.key); got != tt.want {
			t.Errorf("philox(%x, %x) = %x, want %x", tt.ctr, tt.key, got, tt.want)
		}
	}
}

// The whole of a checkpoint's and a loss curve's reproducibility rests on these never changing.
func TestStreamsArePinned(t *testing.T) {
	s := New(42, "layers.0.attention.wq.weight")
	var got []uint32
	for i := range uint64(5) {
		got = append(got, s.Uint32(i))
	}
	want := []uint32{0x800c87fd, 0xc774a47b, 0xcde19d23, 0x444d63d7, 0x94848b95}
	if !slices.Equal(got, want) {
		t.Errorf("numbers %#x, want %#x", got, want)
	}
	if got, want := s.Uint64(1), uint64(want[3])<<32|uint64(want[2]); got != want {
		t.Errorf("Uint64(1) = %#x, want %#x", got, want)
	}
	normal := make([]float32, 3)
	s.Normal(normal, 1<<40, 0, 1)
	if want := []float32{1.6240022, 0.29905805, 0.1215236}; !slices.Equal(normal, want) {
		t.Errorf("normal %v, want %v", normal, want)
	}
	perm := Perm{Key: 42, N: 1000}
	if got, want := []uint64{perm.At(0), perm.At(1), perm.At(999)}, []uint64{816, 321, 366}; !slices.Equal(got, want) {
		t.Errorf("permutation %v, want %v", got, want)
	}
}

// A shard filled alone has the values of the whole, wherever it starts.
func TestShardsAreParts(t *testing.T) {
	s := New(1, "w")
	whole := make([]float32, 103)
	s.TruncNormal(whole, 7, 0.5, 2, -1, 3)
	for first := range len(whole) {
		for _, n := range []int{0, 1, 3, 4, 9} {
			n = min(n, len(whole)-first)
			part := make([]float32, n)
			s.TruncNormal(part, 7+uint64(first), 0.5, 2, -1, 3)
			if !slices.Equal(part, whole[first:first+n]) {
				t.Fatalf("elements %d to %d differ from those of the whole", first, first+n)
			}
		}
	}
}

// moments of n normal values; the standard error of the mean is 1/√n, of the fourth moment about √96/√n.
func TestNormalHasItsMoments(t *testing.T) {
	const n = 1 << 18
	x := make([]float32, n)
	New(3, "moments").Normal(x, 0, 10, 2)
	var m [5]float64
	var within int
	for _, v := range x {
		z := (float64(v) - 10) / 2
		for k, p := 1, z; k <= 4; k, p = k+1, p*z {
			m[k] += p / n
		}
		if math.Abs(z) < 1 {
			within++
		}
	}
	for k, want := range []float64{0, 0, 1, 0, 3} {
		if k > 0 && math.Abs(m[k]-want) > 5*math.Sqrt(96)/math.Sqrt(n) {
			t.Errorf("moment %d is %v, want %v", k, m[k], want)
		}
	}
	if p := float64(within) / n; math.Abs(p-0.682689) > 0.005 {
		t.Errorf("%v of the values are within one standard deviation, want 0.6827", p)
	}
}

// Cutting must equal drawing again: the values inside the bounds have the normal's own proportions.
func TestTruncNormalIsTheNormalGivenTheBounds(t *testing.T) {
	const n = 1 << 17
	x := make([]float32, n)
	New(4, "cut").TruncNormal(x, 0, 1, 2, -1, 5) // -1σ to 2σ
	phi := func(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
	for _, z := range []float64{-0.9, -0.5, 0, 0.5, 1, 1.9} {
		below := 0
		for _, v := range x {
			if v < -1 || v > 5 {
				t.Fatalf("%v is out of bounds", v)
			}
			if float64(v) < 1+2*z {
				below++
			}
		}
		want := (phi(z) - phi(-1)) / (phi(2) - phi(-1))
		if got := float64(below) / n; math.Abs(got-want) > 5*0.5/math.Sqrt(n) {
			t.Errorf("%v of the values are below %vσ, want %v", got, z, want)
		}
	}
	New(4, "cut").TruncNormal(x[:4], 0, 3, 0, -1, 5)
	if !slices.Equal(x[:4], []float32{3, 3, 3, 3}) {
		t.Errorf("without deviation: %v, want the mean", x[:4])
	}
}

// Neighbouring indices, names and seeds share no pattern: products of centred uniforms average to nothing.
func TestStreamsAreUncorrelated(t *testing.T) {
	const n = 1 << 16
	a := New(5, "a")
	for name, b := range map[string]Sequence{"name": New(5, "b"), "seed": New(6, "a"), "both": New(6, "b")} {
		var same, next float64
		for i := range uint64(n) {
			x := uniform(a.Uint32(i)) - 0.5
			same += x * (uniform(b.Uint32(i)) - 0.5) / n
			next += x * (uniform(a.Uint32(i+1)) - 0.5) / n
		}
		if limit := 5.0 / 12 / math.Sqrt(n); math.Abs(same) > limit || math.Abs(next) > limit {
			t.Errorf("other %s: covariance %v, with the next index %v, limit %v", name, same, next, limit)
		}
	}
	if lo, hi := uniform(0), uniform(math.MaxUint32); lo <= 0 || hi >= 1 || lo != 1-hi {
		t.Errorf("uniform numbers from %v to %v", lo, hi)
	}
}

func TestPermIsABijection(t *testing.T) {
	sizes := []uint64{4095, 4096, 4097, 65537, 1<<18 - 1}
	for n := uint64(1); n <= 130; n++ {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		for key := range uint64(3) {
			p := Perm{key, n}
			seen := make([]bool, n)
			for i := range n {
				v := p.At(i)
				if v >= n || seen[v] {
					t.Fatalf("%+v: At(%d) = %d is out of range or there twice", p, i, v)
				}
				seen[v] = true
			}
		}
	}
	for _, n := range []uint64{1 << 63, math.MaxUint64} {
		if v := (Perm{1, n}).At(n - 1); v >= n {
			t.Errorf("Perm of %d: At of the last is %d", n, v)
		}
	}
}

// Over many keys each ordered pair of values is as likely at two positions as any other: chi-square, at most five standard deviations above
// its mean. (Whole orders are not quite: a Feistel network is an even permutation. Nobody can tell that of more than a handful.)
func TestPermPairsAreEquallyLikely(t *testing.T) {
	const keys = 40000
	for _, n := range []uint64{3, 5, 7, 16, 20} {
		count := make([]float64, n*n)
		for key := range uint64(keys) {
			p := Perm{key, n}
			count[p.At(0)*n+p.At(n/2)]++
		}
		pairs := float64(n * (n - 1))
		chi := 0.0
		for i, c := range count {
			if uint64(i)/n != uint64(i)%n {
				chi += (c - keys/pairs) * (c - keys/pairs) / (keys / pairs)
			}
		}
		if limit := pairs - 1 + 5*math.Sqrt(2*(pairs-1)); chi > limit {
			t.Errorf("n = %d: chi-square %v over %v pairs, limit %v", n, chi, pairs, limit)
		}
	}
}

func TestPermPositionOutOfRangePanics(t *testing.T) {
	defer func() {
		if got, want := fmt.Sprint(recover()), "rng: position 5 of a permutation of 5"; got != want {
			t.Errorf("panic %q, want %q", got, want)
		}
	}()
	Perm{1, 5}.At(5)
}

func BenchmarkNormal(b *testing.B) {
	x := make([]float32, 1<<14)
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		New(1, "w").Normal(x, 0, 0, 0.02)
	}
}

func BenchmarkPerm(b *testing.B) {
	p := Perm{1, 176_000}
	for i := uint64(0); b.Loop(); i++ {
		p.At(i % p.N)
	}
}
