// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"octet/dtensor"
)

// wanted is a box of a tensor that is to be read, and the memory for it.
type wanted struct {
	name string
	t    Tensor
	box  dtensor.Box
	dst  []byte
}

// extent is bytes of a file that are read at once: parts that follow one another, each with
// what is wanted of it.
type extent struct {
	file       string
	begin, end int64
	parts      []piece
}

// piece is a part of which something is wanted.
type piece struct {
	Part
	of []wanted // of the same tensor
}

// extents are the bytes that hold what is wanted: parts of one file that follow one another are
// read together, as far as partBytes, so that small tensors make few reads.
func extents(all []wanted) []extent {
	byTensor := map[string][]wanted{}
	for _, w := range all {
		byTensor[w.name] = append(byTensor[w.name], w)
	}
	var pieces []piece
	for _, of := range byTensor {
		for _, p := range of[0].t.Parts {
			need := piece{Part: p}
			for _, w := range of {
				if _, ok := p.Intersect(w.box); ok {
					need.of = append(need.of, w)
				}
			}
			if len(need.of) > 0 {
				pieces = append(pieces, need)
			}
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Begin, b.Begin)) })
	var list []extent
	for _, p := range pieces {
		if n := len(list); n > 0 {
			if last := &list[n-1]; last.file == p.File && last.end == p.Begin && p.End-last.begin <= partBytes {
				last.end = p.End
				last.parts = append(last.parts, p)
				continue
			}
		}
		list = append(list, extent{p.File, p.Begin, p.End, []piece{p}})
	}
	return list
}

// read reads extents, several at once. progress gets the bytes of each.
func (c *Checkpoint) read(list []extent, progress func(bytes int)) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for range min(len(list), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			var scratch []byte
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				if scratch, errs[i] = c.readExtent(list[i], scratch); errs[i] != nil {
					failed.Store(true)
				}
				progress(int(list[i].end - list[i].begin))
			}
		})
	}
	wg.Wait()
	for _, err := range errs { // whatever is before one that failed was begun before it
		if err != nil {
			return err
		}
	}
	return nil
}

// readExtent reads an extent: straight to where it is wanted, where that is the memory of one
// part whole, else by way of scratch, which it returns for the next.
func (c *Checkpoint) readExtent(e extent, scratch []byte) ([]byte, error) {
	f, err := c.file(e.file)
	if err != nil {
		return scratch, err
	}
	if dst := e.direct(); dst != nil {
		return scratch, e.parts[0].readInto(f, dst)
	}
	if n := int(e.end - e.begin); cap(scratch) < n {
		scratch = make([]byte, n)
	}
	raw := scratch[:e.end-e.begin]
	if _, err := f.ReadAt(raw, e.begin); err != nil {
		return scratch, err
	}
	for _, p := range e.parts {
		from := raw[p.Begin-e.begin : p.End-e.begin]
		if err := p.check(f, from); err != nil {
			return scratch, err
		}
		for _, w := range p.of {
			size := w.t.DType.Size()
			w.box.Overlap(p.Box, func(to, at, n int) { copy(w.dst[to*size:(to+n)*size], from[at*size:]) })
		}
	}
	return scratch, nil
}

// direct is the memory that the extent's one part goes to without a copy; nil: there is none.
func (e extent) direct() (dst []byte) {
	if len(e.parts) != 1 || len(e.parts[0].of) != 1 {
		return nil
	}
	p, w := e.parts[0], e.parts[0].of[0]
	w.box.Overlap(p.Box, func(to, _, n int) {
		if n == p.Numel() {
			size := w.t.DType.Size()
			dst = w.dst[to*size : (to+n)*size]
		}
	})
	return dst
}

// readInto reads the part to dst, and sums each stretch while the processor still has it near.
func (p piece) readInto(f *os.File, dst []byte) error {
	const stretch = 256 << 10
	sum := uint32(0)
	for at := 0; at < len(dst); at += stretch {
		raw := dst[at:min(at+stretch, len(dst))]
		if _, err := f.ReadAt(raw, p.Begin+int64(at)); err != nil {
			return err
		}
		sum = crc32.Update(sum, crcTable(), raw)
	}
	return p.compare(f, CRC(sum))
}

// check compares the sum of the part's bytes.
func (p piece) check(f *os.File, raw []byte) error { return p.compare(f, crcOf(raw)) }

func (p piece) compare(f *os.File, got CRC) error {
	if got != p.CRC32C {
		return fmt.Errorf("%s: bytes [%d, %d), the part %v of %s, have the crc32c %08x, the index says %08x: a byte was changed",
			f.Name(), p.Begin, p.End, p.Box, p.of[0].name, uint32(got), uint32(p.CRC32C))
	}
	return nil
}
