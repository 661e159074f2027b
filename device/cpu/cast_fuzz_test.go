// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// castKind is a cast of a stream: which, of the fuzzer's choice, is in the bits of a number.
type castKind struct {
	from, to          dtype.Type
	per, fold         tensor.Granularity // of the scales that are made, and of what is folded in
	folds, pow2       bool
	plain, transposed bool // which layouts are asked for
	recorded          bool // by a given scale, with a record
}

func castKindOf(bits uint16) (k castKind) {
	take := func(n uint16) uint16 {
		n, bits = bits%n, bits/n
		return n
	}
	k.from = []dtype.Type{dtype.Float32, dtype.BFloat16}[take(2)]
	k.to = float8s[take(uint16(len(float8s)))]
	granularities := []tensor.Granularity{tensor.PerTensor, tensor.PerRow, tensor.PerColumn}
	layout := take(3)
	k.plain, k.transposed = layout != 1, layout != 0
	if k.recorded = take(4) == 0; k.recorded {
		return k
	}
	k.per, k.pow2 = granularities[take(3)], take(2) == 1
	if fold := take(4); fold > 0 {
		k.folds, k.fold = true, granularities[fold-1]
	}
	return k
}

// fuzzedCast is a matrix, what is folded into it, and the given scale of a recorded cast
// with what is recorded already.
type fuzzedCast struct {
	castKind
	rows, cols  int
	x           []float32
	inv         []float32
	given, seen float32
}

// shared is the shape of the n numbers that elements of a matrix [rows,cols] share, and
// which of them element i has.
func shared(g tensor.Granularity, rows, cols int) (shape []int, n int, at func(i int) int) {
	switch g {
	case tensor.PerRow:
		return []int{rows, 1}, rows, func(i int) int { return i / cols }
	case tensor.PerColumn:
		return []int{1, cols}, cols, func(i int) int { return i % cols }
	}
	return []int{}, 1, func(int) int { return 0 }
}

// castResult is what comes of a cast: codes as they lie and transposed, scales, reciprocals, record.
type castResult struct {
	codes, turned []byte
	scale, inv    []float32
	record        float32
}

// larger is the one of two amaxes, NaN above infinity; device.Unseen is below all.
func larger(a, b float32) float32 {
	return math.Float32frombits(uint32(max(int32(math.Float32bits(a)), int32(math.Float32bits(b)))))
}

// oracle computes it element by element.
func (c *fuzzedCast) oracle() (r castResult) {
	f := c.to.Format()
	_, n, at := shared(c.per, c.rows, c.cols)
	_, _, foldAt := shared(c.fold, c.rows, c.cols)
	product := make([]float32, len(c.x))
	amax := make([]float32, n)
	for i, x := range c.x {
		product[i] = x
		if c.folds {
			product[i] *= c.inv[foldAt(i)]
		}
		amax[at(i)] = larger(amax[at(i)], float32(math.Abs(float64(product[i]))))
	}
	if c.recorded {
		r.scale, r.inv = []float32{c.given}, []float32{1 / c.given}
		r.record = larger(c.seen, amax[0])
	} else {
		for _, a := range amax {
			s := f.Scale(a, c.pow2)
			r.scale, r.inv = append(r.scale, s), append(r.inv, 1/s)
		}
	}
	r.codes, r.turned = make([]byte, len(c.x)), make([]byte, len(c.x))
	for i, p := range product {
		r.codes[i] = f.Encode(p * r.scale[at(i)])
		r.turned[i%c.cols*c.rows+i/c.cols] = r.codes[i]
	}
	return r
}

// on computes it on a device.
func (c *fuzzedCast) on(s device.Stream, pool *device.Pool) (r castResult, err error) {
	var all []*tensor.Tensor
	empty := func(ty dtype.Type, shape ...int) *tensor.Tensor {
		t := pool.New(ty, shape...)
		all = append(all, t)
		return t
	}
	defer func() {
		for _, t := range all {
			pool.Free(t)
		}
	}()
	put := func(values []float32, shape ...int) *tensor.Tensor {
		t := empty(dtype.Float32, shape...)
		s.Upload(t, device.Float32Bytes(values))
		return t
	}
	per, _, _ := shared(c.per, c.rows, c.cols)
	scale, inv := empty(dtype.Float32, per...), empty(dtype.Float32, per...)
	var plain, turned tensor.Operand
	if c.plain {
		plain = tensor.Operand{Tensor: empty(c.to, c.rows, c.cols), Scale: scale, Inv: inv}
	}
	if c.transposed {
		turned = tensor.Operand{Tensor: empty(c.to, c.cols, c.rows), Scale: scale, Inv: inv, Transposed: true}
	}
	src := tensor.Operand{Tensor: put(c.x, c.rows, c.cols)}
	if c.from != dtype.Float32 { // exact: x has such values
		narrow := empty(c.from, c.rows, c.cols)
		s.Copy(narrow, src.Tensor)
		src.Tensor = narrow
	}
	record := put([]float32{c.seen})
	if c.recorded {
		s.RecordCast(plain, turned, src, tensor.Operand{Scale: put([]float32{c.given}), Inv: put([]float32{1 / c.given})}, record)
	} else {
		if c.folds {
			shape, _, _ := shared(c.fold, c.rows, c.cols)
			src.Inv = put(c.inv, shape...)
		}
		s.DynamicCast(plain, turned, src, c.pow2)
	}
	r.scale, r.inv = make([]float32, scale.Numel()), make([]float32, scale.Numel())
	s.Download(device.Float32Bytes(r.scale), scale)
	s.Download(device.Float32Bytes(r.inv), inv)
	if c.plain {
		r.codes = make([]byte, len(c.x))
		s.Download(r.codes, plain.Tensor)
	}
	if c.transposed {
		r.turned = make([]byte, len(c.x))
		s.Download(r.turned, turned.Tensor)
	}
	recorded := make([]float32, 1)
	s.Download(device.Float32Bytes(recorded), record)
	err = s.Sync()
	r.record = recorded[0]
	return r, err
}

// differs says where a result is not the oracle's; any NaN is a NaN of a fold's product.
func (c *fuzzedCast) differs(got, want castResult) string {
	same := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b }
	for i := range want.scale {
		if !same(got.scale[i], want.scale[i]) || !same(got.inv[i], want.inv[i]) {
			return fmt.Sprintf("scale %d is %v and its reciprocal %v, want %v and %v", i, got.scale[i], got.inv[i], want.scale[i], want.inv[i])
		}
	}
	if c.recorded && !same(got.record, want.record) {
		return fmt.Sprintf("record %v, want %v", got.record, want.record)
	}
	if c.plain && !bytes.Equal(got.codes, want.codes) {
		i := firstDifference(got.codes, want.codes)
		return fmt.Sprintf("code %d of %v is %#02x, want %#02x", i, c.x[i], got.codes[i], want.codes[i])
	}
	if c.transposed && !bytes.Equal(got.turned, want.turned) {
		i := firstDifference(got.turned, want.turned)
		return fmt.Sprintf("transposed, code %d is %#02x, want %#02x", i, got.turned[i], want.turned[i])
	}
	return ""
}

// FuzzScaledCast: casts with scales of their own, one in all, one a row or one a column, of
// what a scale is folded into or not, and casts by a given scale that are recorded, into
// either layout and into both, are on every instruction set what the formats' definitions
// give, element by element.
func FuzzScaledCast(f *testing.F) {
	mixed := bytes.Repeat([]byte{0xFF, 0x3D, 0x00, 0x80, 0x43, 0x3F, 0x12, 0x40, 0xBE}, 80)
	for kind := range uint16(2 * 4 * 3 * 4 * 3 * 2 * 4) {
		if kind%7 == 0 {
			f.Add(mixed, uint8(kind%40), kind, []byte{0, 0, 0x40, 0x3F, 0x55, 0x55, 0x15, 0x43})
		}
	}
	type opened struct {
		isa  ISA
		s    device.Stream
		pool *device.Pool
	}
	var devices []opened
	for _, isa := range available() {
		dev := open(f, isa, 2)
		devices = append(devices, opened{isa, dev.NewStream("fuzz"), device.NewPool(dev)})
	}
	f.Fuzz(func(t *testing.T, mem []byte, width uint8, kind uint16, others []byte) {
		c := fuzzedCast{castKind: castKindOf(kind), cols: int(width) + 1, given: 1, seen: device.Unseen}
		if c.rows = len(mem) / 4 / c.cols; c.rows == 0 || len(others) < 4 {
			return
		}
		for i := range c.rows * c.cols {
			x := f32At(mem, i)
			if c.from == dtype.BFloat16 {
				x = math.Float32frombits(math.Float32bits(x) &^ 0xFFFF)
			}
			c.x = append(c.x, x)
		}
		_, folds, _ := shared(c.fold, c.rows, c.cols)
		for i := range folds {
			c.inv = append(c.inv, f32At(others, i%(len(others)/4)))
		}
		if c.recorded {
			c.given = f32At(others, 0)
			if last := len(others)/4 - 1; last > 0 {
				c.seen = float32(math.Abs(float64(f32At(others, last))))
			}
		}
		want := c.oracle()
		for _, d := range devices {
			got, err := c.on(d.s, d.pool)
			if err != nil {
				t.Fatal(err)
			}
			if off := c.differs(got, want); off != "" {
				t.Fatalf("%v: %+v [%d,%d]: %s", d.isa, c.castKind, c.rows, c.cols, off)
			}
		}
	})
}
