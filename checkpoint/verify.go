// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"slices"

	"octet/checkpoint/safetensors"
	"octet/internal/problems"
)

// Bytes is the size of all files together.
func (x *Index) Bytes() (n int64) {
	for _, f := range x.Files {
		n += f.Size
	}
	return n
}

// Verify reads every byte of the checkpoint and reports all that is not as it was written: files that are missing, cut or changed,
// and which parts of which tensors that concerns. progress is called with bytes that were read. (That the
// parts tile every tensor, Open has found.)
func (c *Checkpoint) Verify(progress func(bytes int)) error {
	inFile := map[string][]piece{}
	for name, t := range c.Index.Tensors {
		for _, p := range t.Parts {
			inFile[p.File] = append(inFile[p.File], piece{p, []wanted{{name: name, t: t}}})
		}
	}
	var all []error
	for _, name := range slices.Sorted(maps.Keys(c.Index.Files)) {
		all = append(all, c.verifyFile(name, inFile[name], progress)...)
	}
	return problems.Lines(all...)
}

// verifyFile reads a file from its beginning to its end.
func (c *Checkpoint) verifyFile(name string, pieces []piece, progress func(bytes int)) []error {
	f, err := c.file(name)
	if err != nil {
		return []error{err}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.Begin, b.Begin) })
	want, sum := c.Index.Files[name], sha256.New()
	var all []error
	var raw []byte
	read := func(begin, end int64) error {
		raw = slices.Grow(raw[:0], int(end-begin))[:end-begin]
		if _, err := f.ReadAt(raw, begin); err != nil {
			return err
		}
		sum.Write(raw) // a hash.Hash never fails
		progress(len(raw))
		return nil
	}
	at := int64(0)
	for _, p := range append(pieces, piece{Part: Part{Begin: want.Size, End: want.Size}}) {
		if p.Begin < at {
			return append(all, fmt.Errorf("%s: two parts have byte %d", f.Name(), p.Begin))
		}
		for at < p.Begin { // the header
			end := min(p.Begin, at+partBytes)
			if err := read(at, end); err != nil {
				return append(all, err)
			}
			at = end
		}
		if p.End == p.Begin {
			continue
		}
		if err := read(p.Begin, p.End); err != nil {
			return append(all, err)
		}
		at = p.End
		if err := p.check(f, raw); err != nil {
			all = append(all, err)
		}
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want.SHA256 {
		all = append(all, fmt.Errorf("%s has the SHA-256 %s, the index says %s", f.Name(), got, want.SHA256))
	}
	return append(all, c.verifyHeader(f, pieces)...)
}

// verifyHeader compares what the file says of itself with the index.
func (c *Checkpoint) verifyHeader(f *os.File, pieces []piece) (all []error) {
	set, err := safetensors.Open(f.Name())
	if err != nil {
		return []error{err}
	}
	defer set.Close()
	for _, p := range pieces {
		name := p.of[0].name
		if info, ok := set.Info(name); !ok || info.DType != p.of[0].t.DType {
			all = append(all, fmt.Errorf("%s has no tensor %s of type %s, of which the index says that there is a part", f.Name(), name, p.of[0].t.DType))
		}
	}
	return all
}
