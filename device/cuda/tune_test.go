// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
	"octet/test/sim"
)

// tunable is a simulated GPU whose clock counts work, with cuBLASLt and a cache that has a file of tuned products, or none.
func tunable(t *testing.T, cache string) (*Device, *Stream) {
	t.Helper()
	simulate(t, "OCTET_CUBLASLT_LIB", sim.Path(t, sim.CublasLt()), "SIM_CLOCK", "work", "XDG_CACHE_HOME", cache)
	d, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d, d.newStream("tuned")
}

// toTune is a product of operands [m,k] and [n,k].
type toTune struct {
	m, n, k int
	of      dtype.Type
	add     bool
}

func (p toTune) on(t *testing.T, d *Device, s *Stream) (dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	t.Helper()
	fresh := func(of dtype.Type, shape ...int) *tensor.Tensor {
		n := of.Size()
		for _, x := range shape {
			n *= x
		}
		mem, err := d.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.New(mem, of, shape...)
		s.Zero(x)
		return x
	}
	return fresh(dtype.Float32, p.m, p.n), tensor.Operand{Tensor: fresh(p.of, p.m, p.k)}, tensor.Operand{Tensor: fresh(p.of, p.n, p.k)},
		device.MatMulOptions{TransB: true, Accumulate: p.add}
}

// takes is how long MatMul takes by the clock of work.
func (p toTune) takes(t *testing.T, d *Device, s *Stream) time.Duration {
	t.Helper()
	dst, a, b, o := p.on(t, d, s)
	s.MatMul(dst, a, b, o) // the first has memory of its own to take
	took, err := s.timed(func() error {
		s.MatMul(dst, a, b, o)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return took
}

var toTunes = []toTune{{32, 16, 16, dtype.BFloat16, false}, {32, 48, 16, dtype.BFloat16, true}, {16, 16, 64, dtype.Float8E4M3, false}, {64, 32, 32, dtype.Float32, false}, {48, 16, 32, dtype.BFloat16, false}}

// tune tunes a product and holds what it found to the costs of the simulated algorithms, in bytes that they write beside, each of
// a nanosecond.
func (p toTune) tune(t *testing.T, d *Device, s *Stream) device.Tuning {
	t.Helper()
	dst, a, b, o := p.on(t, d, s)
	got, err := d.Tune(s, dst, a, b, o, 3, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Times) != 4 || got.Times[3] != 0 || got.Own != "" {
		t.Fatalf("%v: %+v, want three times, and an algorithm that does not run", p, got)
	}
	than := func(i int) int64 { return (got.Times[i] - got.Times[0]).Microseconds() }
	if faster := map[string]int{"-32 65": 1, "65 -49": 2}[fmt.Sprint(than(1), " ", than(2))]; faster == 0 || got.Best != faster {
		t.Errorf("%v: %+v", p, got)
	}
	return got
}

func equalTimes(a, b time.Duration) bool { return (a - b).Abs() < 100 } // ns, that rounding takes

// TestWhatWasTunedIsUsed here and, once it is kept, wherever such a device is opened.
func TestWhatWasTunedIsUsed(t *testing.T) {
	cache, best := t.TempDir(), map[int]int{}
	var kept []device.Tuning
	for i, p := range toTunes {
		d, s := tunable(t, cache) // each adds to what the one before has kept
		found := p.tune(t, d, s)
		if took := p.takes(t, d, s); !equalTimes(took, found.Times[found.Best]) {
			t.Errorf("%v takes %v, was tuned to %v", p, took, found)
		}
		best[found.Best]++
		kept = append(kept, found)
		path, err := d.SaveTuned()
		if want := filepath.Join(cache, "octet", "gemm-9.0-130000.bin"); err != nil || path != want {
			t.Fatalf("kept in %q (%v), want %q", path, err, want)
		}
		for j := range i + 1 {
			if took := toTunes[j].takes(t, d, s); !equalTimes(took, kept[j].Times[kept[j].Best]) {
				t.Errorf("%v takes %v, was tuned before to %v", toTunes[j], took, kept[j])
			}
		}
		if w := d.Warning(); w != "" {
			t.Errorf("warning %q", w)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(best) != 2 {
		t.Errorf("one algorithm is always the best: %v", best)
	}
	if all, err := os.ReadDir(filepath.Join(cache, "octet")); err != nil || len(all) != 1 {
		t.Errorf("the folder has %v (%v), want the file alone", all, err)
	}
}

// TestAFileThatIsNotBelieved: what was tuned elsewhere, or is damaged, or names algorithms that are none, is told and not used.
func TestAFileThatIsNotBelieved(t *testing.T) {
	cache := t.TempDir()
	p := toTunes[0]
	d, s := tunable(t, cache)
	usual := p.takes(t, d, s)
	p.tune(t, d, s)
	toTunes[4].tune(t, d, s)
	path, err := d.SaveTuned()
	if err := firstError(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(edit func(body []byte) []byte) []byte {
		body := edit(bytes.Clone(good[:len(good)-sha256.Size]))
		sum := sha256.Sum256(body)
		return append(body, sum[:]...)
	}
	set := func(at int, value uint64, size int) []byte {
		return signed(func(b []byte) []byte {
			copy(b[at:at+size], binary.LittleEndian.AppendUint64(nil, value)[:size])
			return b
		})
	}
	const chip, records = 8, 8 + 80 + 4
	record := (len(good) - sha256.Size - records) / 2
	algorithm := records + record - 72 // its words, and the time behind them
	flipped := bytes.Clone(good)
	flipped[algorithm] ^= 1
	for _, tt := range []struct {
		name string
		text []byte
		want string // "": it is believed
	}{
		{"the one that was written", good, ""},
		{"signed anew", signed(func(b []byte) []byte { return b }), ""},
		{"empty", nil, "it is no file of tuned products"},
		{"something else", bytes.Repeat([]byte("x"), 500), "it is no file of tuned products"},
		{"a bit", flipped, "it is damaged"},
		{"cut", good[:len(good)-1], "it is damaged"},
		{"another version", set(chip, 130001, 4), "it is of cuBLASLt 130001 on simulated GPU, this is cuBLASLt 130000 on simulated GPU"},
		{"another capability", set(chip+4, 89, 4), "it is of cuBLASLt"},
		{"another GPU", set(chip+16, 'S', 1), "it is of cuBLASLt 130000 on Simulated GPU, this is"},
		{"fewer records", signed(func(b []byte) []byte { return b[:len(b)-record] }), "products"},
		{"no number of records", signed(func(b []byte) []byte { return b[:chip+80] }), "EOF"},
		{"another product's algorithm", signed(func(b []byte) []byte {
			copy(b[algorithm:algorithm+64], b[algorithm+record:algorithm+record+64])
			return b
		}), "cublasLtMatmulAlgoCheck: CUBLAS_STATUS_INVALID_VALUE (7)"},
		{"an algorithm that wants more memory", set(algorithm+8, 3, 8), "needs a workspace of 1073741824 bytes, of 33554432"},
		{"an algorithm that is refused", set(algorithm+8, 4, 8), "cublasLtMatmulAlgoCheck: CUBLAS_STATUS_NOT_SUPPORTED (15)"},
		{"a type that is none", set(records+24, 99, 4), "the algorithm of [32,16]·[16,16]"},
		{"no size", set(records, 0, 8), "cublasLtMatrixLayoutCreate: CUBLAS_STATUS_INVALID_VALUE (7)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.text, 0o644); err != nil {
				t.Fatal(err)
			}
			d, s := tunable(t, cache)
			took := p.takes(t, d, s)
			if used := !equalTimes(took, usual); used != (tt.want == "") {
				t.Errorf("a product takes %v, without the file %v", took, usual)
			}
			w := d.Warning()
			if !strings.Contains(w, tt.want) || (w != "") != (tt.want != "") || tt.want != "" && !strings.HasPrefix(w, "the products that were tuned are not used: "+path+": ") {
				t.Errorf("warning %q, want %q", w, tt.want)
			}
			if tt.name == "a bit" { // it is made anew
				toTunes[1].tune(t, d, s)
				if _, err := d.SaveTuned(); err != nil {
					t.Fatal(err)
				}
				if text, err := os.ReadFile(path); err != nil || len(text) != len(good)-record {
					t.Errorf("after another tuning the file has %d bytes (%v), want those of one product", len(text), err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestThereIsNothingToTune where cuBLASLt is not, or not for a product, and nowhere to keep it where no folder is known.
func TestThereIsNothingToTune(t *testing.T) {
	simulate(t)
	d := openSimulated(t, Options{})
	s := d.newStream("tuned")
	dst, a, b, o := toTunes[0].on(t, d, s)
	if _, err := d.Tune(s, dst, a, b, o, 1, 0); err == nil || !strings.HasPrefix(err.Error(), "cuda: there is nothing to tune: products run on octet's own kernel") {
		t.Errorf("without cuBLASLt: %v", err)
	}
	if _, err := d.SaveTuned(); err == nil || !strings.HasPrefix(err.Error(), "cuda: there is nothing to keep: ") {
		t.Errorf("without cuBLASLt: %v", err)
	}
	t.Setenv("OCTET_CUBLASLT_LIB", sim.Path(t, sim.CublasLt()))
	t.Setenv("XDG_CACHE_HOME", "relative")
	t.Setenv("HOME", "")
	d = openSimulated(t, Options{})
	s = d.newStream("tuned")
	dst, a, b, o = toTune{32, 32, 24, dtype.Float8E4M3, false}.on(t, d, s)
	if got, err := d.Tune(s, dst, a, b, o, 1, 0); err != nil || got.Own != "K 24 is no multiple of 16" || got.Times != nil {
		t.Errorf("an unaligned product: %+v, %v", got, err)
	}
	if _, err := d.SaveTuned(); err == nil || err.Error() != "neither XDG_CACHE_HOME nor HOME is set: there is no place for what was tuned" {
		t.Errorf("without a folder: %v", err)
	}
}
