// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"unsafe"

	"octet/dtype"
)

// tilePortable computes one tile in Go. Sums are float32 in ascending order of
// k, exactly as three plain loops would have them; the order of the loops is
// the one that reads memory in rows: dst[i,:] += a[i,k]·b[k,:].
func (p *product) tilePortable(t tile, workspace []byte) {
	mem := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(workspace))), len(workspace)/4)
	a, mem := mem[:tileSteps], mem[tileSteps:]
	b, mem := mem[:tileSteps*t.cols], mem[tileSteps*tileCols:]
	sums := mem[:t.rows*t.cols]
	clear(sums)
	decodeA, decodeB := decoder(p.a.t), decoder(p.b.t)

	for k0 := 0; k0 < p.a.k; k0 += tileSteps {
		steps := min(tileSteps, p.a.k-k0)
		for k := range steps {
			row := b[k*t.cols : (k+1)*t.cols]
			for j := range row {
				row[j] = p.b.at(t.col+j, k0+k, decodeB)
			}
		}
		for i := range t.rows {
			for k := range steps {
				a[k] = p.a.at(t.row+i, k0+k, decodeA)
			}
			addRows(sums[i*t.cols:(i+1)*t.cols], a[:steps], b)
		}
	}
	p.finish(t, sums)
}

// addRows is sum += Σ_k a[k]·b[k,:], k ascending, four rows of b at a time.
// The conversions keep the compiler from fusing a product into its sum.
func addRows(sum, a, b []float32) {
	n := len(sum)
	for ; len(a) >= 4; a, b = a[4:], b[4*n:] {
		b0, b1, b2, b3 := b[:n], b[n:2*n], b[2*n:3*n], b[3*n:4*n]
		a0, a1, a2, a3 := a[0], a[1], a[2], a[3]
		for j := range sum {
			s := sum[j] + float32(a0*b0[j])
			s += float32(a1 * b1[j])
			s += float32(a2 * b2[j])
			sum[j] = s + float32(a3*b3[j])
		}
	}
	for k, v := range a {
		row := b[k*n : (k+1)*n]
		for j := range sum {
			sum[j] += float32(v * row[j])
		}
	}
}

// finish scales the sums of a tile and writes them to dst.
func (p *product) finish(t tile, sums []float32) {
	dst := vec{p: p.dst, n: p.m * p.n, t: p.dstType}
	for i := range t.rows {
		to := (t.row+i)*p.n + t.col
		inv := p.a.invOf(t.row + i)
		for j, v := range sums[i*t.cols : (i+1)*t.cols] {
			v *= inv * p.b.invOf(t.col+j)
			if p.accumulate {
				v = dst.at(to+j) + float32(v)
			}
			dst.set(to+j, v)
		}
	}
}

// invOf is the reciprocal of a lane's scale.
func (p *panel) invOf(lane int) float32 {
	switch {
	case p.inv == nil:
		return 1
	case p.invs:
		return *(*float32)(unsafe.Add(unsafe.Pointer(p.inv), 4*lane))
	}
	return *p.inv
}

// decoder is the values of a float8 type's codes; nil for other types.
func decoder(t dtype.Type) *[256]float32 {
	if !t.IsFloat8() {
		return nil
	}
	var values [256]float32
	for c := range values {
		values[c] = t.Format().Decode(byte(c))
	}
	return &values
}

// at widens an element.
func (p *panel) at(lane, k int, decode *[256]float32) float32 {
	i := lane*p.ld + k
	if !p.kContiguous {
		i = k*p.ld + lane
	}
	if decode != nil {
		return decode[*(*byte)(unsafe.Add(p.data, i))]
	}
	return vec{p: p.data, t: p.t}.at(i)
}
