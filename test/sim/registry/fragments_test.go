// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package registry_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"octet/dtype"
	"octet/test/sim/registry"
)

// memory is an argument of a launch, which stays where it is.
func memory[T any](t *testing.T, x []T, of dtype.Type, writes bool) registry.Argument {
	var pinned runtime.Pinner
	pinned.Pin(unsafe.SliceData(x))
	t.Cleanup(pinned.Unpin)
	bytes := len(x) * int(unsafe.Sizeof(x[0]))
	meta := uint64(of) | uint64(bytes/of.Size())<<16
	if writes {
		meta |= 1 << 8
	}
	return registry.Argument{uint64(uintptr(unsafe.Pointer(unsafe.SliceData(x)))), meta}
}

func runWarp(t *testing.T, kernel string, seed uint64, args ...registry.Argument) {
	t.Helper()
	if _, err := open(t).Run(registry.Launch{Kernel: kernel, Grid: 1, Block: 32, Seed: seed, Arguments: args}); err != nil {
		t.Fatal(err)
	}
}

// small are integers that bfloat16 and sums of their products have exactly, as bits of bfloat16.
func small(n int) (bits []uint16, values []float32) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		v := float32(r.IntN(33) - 16)
		values, bits = append(values, v), append(bits, uint16(math.Float32bits(v)>>16))
	}
	return bits, values
}

// TestFragmentsLieAsThePTXISAHasThem: where mma.m16n8k16's operands are, as the tables of the PTX ISA
// say of .bf16: lane = 4·group + t; element i of a has row group, or 8 more for i = 2, 3, 6, 7, and
// column 2t + i mod 2, or 8 more from i = 4 on; of b row 2t + i mod 2, or 8 more from i = 2 on, and column
// group; of c row group, or 8 more from i = 2 on, and column 2t + i mod 2.
func TestFragmentsLieAsThePTXISAHasThem(t *testing.T) {
	abits, a := small(16 * 16)
	bbits, b := small(16 * 8)
	_, c := small(16*8 + 1)
	for seed := range uint64(8) {
		regs, d := make([]uint16, 32*12), make([]float32, 32*4)
		for lane := range 32 {
			group, in := lane/4, lane%4
			for i := range 8 {
				row, col := group+8*(i/2%2), 2*in+i%2+8*(i/4)
				regs[lane*12+i] = abits[row*16+col]
			}
			for i := range 4 {
				regs[lane*12+8+i] = bbits[(2*in+i%2+8*(i/2))*8+group]
				d[lane*4+i] = c[(group+8*(i/2))*8+2*in+i%2]
			}
		}
		runWarp(t, "mma", seed, memory(t, d, dtype.Float32, true), memory(t, regs, dtype.BFloat16, false))
		for lane := range 32 {
			for i := range 4 {
				row, col := lane/4+8*(i/2), 2*(lane%4)+i%2
				want := c[row*8+col]
				for k := range 16 {
					want += a[row*16+k] * b[k*8+col]
				}
				if got := d[lane*4+i]; got != want {
					t.Fatalf("seed %d: lane %d has of row %d and column %d %v, want %v", seed, lane, row, col, got, want)
				}
			}
		}
	}
}

// TestLdmatrixIsThePTXISAs: lanes 8m to 8m+7 name the rows of matrix m, wherever they are; lane 4r+t gets
// elements 2t and 2t+1 of row r, and of the transpose.
func TestLdmatrixIsThePTXISAs(t *testing.T) {
	rows, at, regs := make([]uint16, 32*8), make([]uint32, 32), make([]uint16, 32*16)
	for i := range rows {
		rows[i] = uint16(i)
	}
	for i, p := range rand.New(rand.NewPCG(3, 4)).Perm(32) {
		at[i] = uint32(p)
	}
	for seed := range uint64(8) {
		runWarp(t, "matrices", seed, memory(t, regs, dtype.BFloat16, true), memory(t, rows, dtype.BFloat16, false), memory(t, at, dtype.Int32, false))
		for lane := range 32 {
			for m := range 4 {
				for i := range 2 {
					row, col := lane/4, 2*(lane%4)+i
					if got, want := regs[lane*16+2*m+i], rows[at[8*m+row]*8+uint32(col)]; got != want {
						t.Errorf("lane %d, matrix %d: element %d of row %d is %d, want %d", lane, m, col, row, got, want)
					}
					if got, want := regs[lane*16+8+2*m+i], rows[at[8*m+col]*8+uint32(row)]; got != want {
						t.Errorf("lane %d, matrix %d: element %d of column %d is %d, want %d", lane, m, col, row, got, want)
					}
				}
			}
		}
	}
}

// TestAProductOfFragments: from shared memory to a product, as attention's are made.
func TestAProductOfFragments(t *testing.T) {
	abits, a := small(16 * 16)
	bbits, b := small(16 * 8)
	c := make([]float32, 16*8)
	runWarp(t, "product", 5, memory(t, c, dtype.Float32, true), memory(t, abits, dtype.BFloat16, false), memory(t, bbits, dtype.BFloat16, false))
	for i, got := range c {
		var want float32
		for k := range 16 {
			want += a[i/8*16+k] * b[k*8+i%8]
		}
		if got != want {
			t.Errorf("row %d, column %d: %v, want %v", i/8, i%8, got, want)
		}
	}
}

// TestCopiesComeLate: what a thread has begun to copy is poison before it has waited, for itself and for others.
func TestCopiesComeLate(t *testing.T) {
	r := open(t)
	for seed := range uint64(8) {
		for kernel, late := range map[string]func(i int) bool{
			"reads_a_copy_early":     func(i int) bool { return true },
			"reads_a_copy_of_others": func(i int) bool { return i >= 32 },
		} {
			x, y := numbers(), new([n]float32)
			if _, err := r.Run(launch(kernel, y, x, seed)); err != nil {
				t.Fatal(err)
			}
			poison := 0
			for i, v := range y {
				if math.IsNaN(float64(v)) && late(i) {
					poison++
				} else if v != x[i] {
					t.Errorf("%s, seed %d: y[%d] = %v, want %v", kernel, seed, i, v, x[i])
				}
			}
			if poison == 0 {
				t.Errorf("%s, seed %d: nothing was read too early", kernel, seed)
			}
		}
	}
	for kernel, want := range map[string]string{
		"leaves_a_copy": "ends before 1 copies that it began",
		"copies_beyond": "copies_beyond, block 0, thread 16 at line ",
	} {
		if _, err := r.Run(launch(kernel, new([n]float32), numbers(), 0)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", kernel, err, want)
		}
	}
}
