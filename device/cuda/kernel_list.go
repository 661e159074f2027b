// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"octet/dtype"
	"octet/tensor"
)

// chunk is the elements of a list that a block takes at a time; memory.h has the same.
const chunk = 4096

// mostTables bounds what is kept of lists. Those of a step are the same at every step.
const mostTables = 1024

// listed is a list whose table is in device memory.
type listed struct {
	words  []uint64
	memory *tensor.Tensor
}

// tableSeed is of hashes that no result depends on.
var tableSeed = maphash.MakeSeed()

// list adds the table of a list of cols tensors a row, of which written says which
// columns a kernel writes, and returns the number of chunks. It is uploaded unless the
// same tensors were listed before.
func (k *kernels) list(l *launch, written []bool, cols ...[]*tensor.Tensor) (chunks int) {
	rows := len(cols[0])
	words := make([]uint64, 0, rows*len(cols)*2+rows+1)
	for i := range rows {
		for c, ts := range cols {
			bit := uint64(0)
			if written[c] {
				bit = writtenBit
			}
			lo, hi := wordsOf(ts[i], bit)
			words = append(words, lo, hi)
		}
	}
	for i := range rows {
		words = append(words, uint64(chunks))
		chunks += count(cols[0][i].Numel(), chunk)
	}
	words = append(words, uint64(chunks))
	l.add(addressOf(k.table(words)), uint64(rows)|uint64(len(cols))<<32)
	return chunks
}

// table is words in device memory.
func (k *kernels) table(words []uint64) *tensor.Tensor {
	bytes := make([]byte, 0, 8*len(words))
	for _, w := range words {
		bytes = binary.LittleEndian.AppendUint64(bytes, w)
	}
	key := maphash.Bytes(tableSeed, bytes)
	for _, t := range k.tables[key] {
		if slices.Equal(t.words, words) {
			return t.memory
		}
	}
	if len(k.tables) >= mostTables && !k.lasting() {
		for _, list := range k.tables {
			for _, t := range list {
				k.pool.Lasting().Free(t.memory) // what is queued before its next use has read it
			}
		}
		clear(k.tables)
	}
	memory := k.pool.Lasting().New(dtype.Uint8, len(bytes)) // nothing else is ever written to it
	k.constant(memory, bytes)
	k.tables[key] = append(k.tables[key], listed{words, memory})
	return memory
}
