// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"octet/dtype"
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
	checkEmbedding("Embedding(y [T,D], table [V,D], ids int32 [T], offset, vocab)", y, table, ids, offset, vocab)
	k.checkIDs(checkEmbedded, ids, vocab, noneIgnored)
	k.over(k.begin(kEmbedding).dst(y).src(table).src(ids).u64(offset).u64(table.Dim(0)).u64(vocab).u64(table.Dim(1)), ids.Numel())
}

// sortRun is how many keys a block sorts; tokens.cu has the same.
const sortRun = 256

// EmbeddingGrad sums dy by id; see device.Kernels.
func (k *kernels) EmbeddingGrad(dtable, dy, ids *tensor.Tensor, offset, vocab int) {
	checkEmbedding("EmbeddingGrad(dtable float32 [V,D], dy [T,D], ids int32 [T], offset, vocab)", dy, dtable, ids, offset, vocab)
	must(dtable.Type == dtype.Float32, "EmbeddingGrad(dtable float32 [V,D])", dtable)
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

func checkEmbedding(want string, y, table, ids *tensor.Tensor, offset, vocab int) {
	ok := isHP(y, table) && len(table.Shape) == 2 && ids.Type == dtype.Int32 && y.Dim(-1) == table.Dim(1) && y.Numel() == ids.Numel()*table.Dim(1)
	must(ok && bits.Len(uint(vocab)) < 32 && offset >= 0 && offset+table.Dim(0) <= vocab, want, y, table, ids)
}

// RoPE rotates pairs in place; see device.Kernels.
func (k *kernels) RoPE(x, table, pos *tensor.Tensor, inverse bool) {
	const want = "RoPE(x [B,S,H,hd], table float32 [N,hd/2,2], N >= S where pos is nil, pos int32 [S] or nil)"
	must(isHP(x) && len(x.Shape) == 4 && len(table.Shape) == 3 && x.Dim(3)%2 == 0, want, x, table, pos)
	seq, heads, hd := x.Dim(1), x.Dim(2), x.Dim(3)
	must(isF32(table, table.Dim(0)*hd) && table.Dim(2) == 2 && (pos != nil || table.Dim(0) >= seq) && isPos(pos, seq), want, x, table, pos)
	if pos != nil {
		k.checkIDs(checkAngles, pos, table.Dim(0), noneIgnored)
	}
	k.each(k.begin(kRoPE).dst(x).src(table).src(pos).u64(seq).u32(heads).u32(hd).bool(inverse), x.Numel(), 8)
}

// isPos reports whether pos can be the positions of n tokens.
func isPos(pos *tensor.Tensor, n int) bool {
	return pos == nil || pos.Type == dtype.Int32 && pos.Numel() == n
}
