// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"octet/tensor"
)

// check is what a kernel looks for among ids.
type check int

// The checks; 0 is no fault.
const (
	checkEmbedded check = iota + 1
	checkEmbeddedGrad
	checkTargets
	checkAngles
	checkQueries
	checkKeys
)

// faultWords are those of the fault of a stream: the check, where, the id, and the limit
// or the position before.
const faultWords = 4

// noneIgnored is an id that no check passes over.
const noneIgnored = -1 << 31

// checkIDs notes the first of ids outside [0,limit), unless the stream has a fault.
func (k *kernels) checkIDs(which check, ids *tensor.Tensor, limit, ignored int) {
	if ids.Numel() > 0 {
		k.once(k.begin(kCheckIDs).dst(k.fault).src(ids).u32(int(which)).u32(limit).u32(ignored).u32(0))
	}
}

// checkAscends notes the first position below 0 or below the one before it.
func (k *kernels) checkAscends(which check, pos *tensor.Tensor) {
	if pos != nil && pos.Numel() > 0 {
		k.once(k.begin(kCheckIDs).dst(k.fault).src(pos).u32(int(which)).u32(0).u32(noneIgnored).u32(1))
	}
}

// faultOf is the error that the words of a stream's fault say, in device memory at
// kernels.fault; nil where there is none. Whoever has read one clears it.
func faultOf(words []byte) error {
	word := func(i int) int32 { return int32(binary.LittleEndian.Uint32(words[4*i:])) }
	at, id, other := word(1), word(2), word(3)
	switch check(word(0)) {
	case checkEmbedded:
		return fmt.Errorf("embedding: id %d at position %d is outside the vocabulary of %d", id, at, other)
	case checkEmbeddedGrad:
		return fmt.Errorf("embedding gradient: id %d at position %d is outside the vocabulary of %d", id, at, other)
	case checkTargets:
		return fmt.Errorf("cross-entropy: target %d at position %d is outside the vocabulary of %d", id, at, other)
	case checkAngles:
		return fmt.Errorf("rope: position %d of token %d is outside the table of %d", id, at, other)
	case checkQueries:
		return fmt.Errorf("attention: position %d of query %d is below %d; positions start at 0 and do not descend", id, at, other)
	case checkKeys:
		return fmt.Errorf("attention: position %d of key %d is below %d; positions start at 0 and do not descend", id, at, other)
	}
	return nil
}

// Embedding is y[t,:] = table[ids[t]-offset,:]; see device.Kernels.
func (k *kernels) Embedding(y, table, ids *tensor.Tensor, offset, vocab int) {
	must.Embedding(y, table, ids, offset, vocab)
	mustSort(table, vocab)
	k.checkIDs(checkEmbedded, ids, vocab, noneIgnored)
	k.over(k.begin(kEmbedding).dst(y).src(table).src(ids).u64(offset).u64(table.Dim(0)).u64(vocab).u64(table.Dim(1)), ids.Numel())
}

// sortRun is how many keys a block sorts; tokens.cu has the same.
const sortRun = 256

// EmbeddingGrad sums dy by id; see device.Kernels.
func (k *kernels) EmbeddingGrad(dtable, dy, ids *tensor.Tensor, offset, vocab int) {
	must.EmbeddingGrad(dtable, dy, ids, offset, vocab)
	mustSort(dtable, vocab)
	n := ids.Numel()
	k.checkIDs(checkEmbeddedGrad, ids, vocab, noneIgnored)
	k.Zero(dtable)
	keys, other := k.float64s(slotKeys, n), k.float64s(slotSorted, n)
	k.over(k.begin(kSortRuns).dst(keys).src(ids).u64(vocab), count(n, sortRun))
	for run := sortRun; run < n; run *= 2 {
		k.each(k.begin(kMergeRuns).dst(other).src(keys).u64(n).u64(run), n, 1)
		keys, other = other, keys
	}
	k.over(k.begin(kEmbeddingGrad).dst(dtable).src(dy).src(keys).src(ids).u64(n).u64(offset).u64(dtable.Dim(0)).u64(vocab).u64(dtable.Dim(1)), n)
}

// mustSort refuses a vocabulary whose ids do not fit in the keys that are sorted.
func mustSort(table *tensor.Tensor, vocab int) {
	must.Hold(bits.Len(uint(vocab)) < 32, "a vocabulary below 2^31", table)
}

// RoPE rotates pairs in place; see device.Kernels.
func (k *kernels) RoPE(x, table, pos *tensor.Tensor, inverse bool, amax *tensor.Tensor) {
	must.RoPE(x, table, pos, amax)
	k.clear(amax)
	seq, heads, hd := x.Dim(1), x.Dim(2), x.Dim(3)
	if pos != nil {
		k.checkIDs(checkAngles, pos, table.Dim(0), noneIgnored)
	}
	k.each(k.begin(kRoPE).dst(x).src(table).src(pos).u64(seq).u32(heads).u32(hd).bool(inverse).dst(amax), x.Numel(), 8)
}
