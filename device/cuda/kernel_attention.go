// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"slices"

	"octet/dtype"
	"octet/tensor"
)

// mostHead is the largest head that the general kernels take.
const mostHead = 256

// rowsABlock is how many rows a block of attention has, one a warp.
const rowsABlock = 4

// Attention is causal attention; see device.Kernels.
func (k *kernels) Attention(o, lse, q, key, v, qpos, kpos, amax *tensor.Tensor) {
	must.Attention(o, lse, q, key, v, qpos, kpos, amax)
	mustFit(q)
	k.clear(amax)
	seen := k.seen(q, key, qpos, kpos)
	if tiled(q, o, key, v) {
		l := k.begin(kFlash64.of(q)).dst(o).dst(lse).dst(amax).src(q).src(key).src(v).src(seen).heads(q, key)
		k.over(l.tiles(q, 5), tilesOf(q))
		return
	}
	k.over(k.begin(kAttention).dst(o).dst(lse).dst(amax).src(q).src(key).src(v).src(seen).heads(q, key).u32(q.Dim(3)), count(lse.Numel(), rowsABlock))
}

// AttentionGrad is the gradient of Attention; see device.Kernels.
func (k *kernels) AttentionGrad(dq, dk, dv, do, q, key, v, o, lse, qpos, kpos, amax *tensor.Tensor) {
	must.AttentionGrad(dq, dk, dv, do, q, key, v, o, lse, qpos, kpos, amax)
	mustFit(q)
	k.clear(amax)
	seen := k.seen(q, key, qpos, kpos)
	delta := k.scratch(slotRows, dtype.Float32, lse.Numel())
	rows := count(lse.Numel(), rowsABlock)
	k.over(k.begin(kAttentionDelta).dst(delta).src(do).src(o).u32(q.Dim(1)).u32(q.Dim(2)).u32(q.Dim(3)), rows)
	if tiled(q, o, do, dq, key, v, dk, dv) {
		l := k.begin(kFlashGradQ64.of(q)).dst(dq).src(do).src(q).src(key).src(v).src(lse).src(delta).src(seen).heads(q, key)
		k.over(l.tiles(q, 6), tilesOf(q))
		l = k.begin(kFlashGradKV64.of(q)).dst(dk).dst(dv).dst(amax).src(do).src(q).src(key).src(v).src(lse).src(delta).src(seen).heads(q, key)
		k.over(l.tiles(q, 6), tilesOf(key))
		return
	}
	k.over(k.begin(kAttentionGradQ).dst(dq).src(do).src(q).src(key).src(v).src(lse).src(delta).src(seen).heads(q, key).u32(q.Dim(3)), rows)
	l := k.begin(kAttentionGradKV).dst(dk).dst(dv).dst(amax).src(do).src(q).src(key).src(v).src(lse).src(delta).src(seen).heads(q, key).u32(q.Dim(3))
	k.over(l, count(key.Dim(0)*key.Dim(1)*key.Dim(2), rowsABlock))
}

// tiled reports whether tensor cores take an attention of such tensors: bfloat16, heads of 64 or
// 128, which lie so that sixteen bytes move at once.
func tiled(all ...*tensor.Tensor) bool {
	return hasTiles(all[0].Dim(3)) && !slices.ContainsFunc(all, func(t *tensor.Tensor) bool {
		return t.Type != dtype.BFloat16 || addressOf(t)%16 != 0
	})
}

func hasTiles(hd int) bool { return hd == 64 || hd == 128 }

// of is the kernel for q's heads, of one for heads of 64.
func (k kernel) of(q *tensor.Tensor) kernel { return k + kernel(q.Dim(3)/128) }

// tiles gives a block shared memory for n tiles of heads.
func (l *launch) tiles(q *tensor.Tensor, n int) *launch {
	l.shared = uint32(n * tileSide * q.Dim(3) * q.Type.Size())
	return l
}

// tilesOf is how many tiles x has of all heads.
func tilesOf(x *tensor.Tensor) int { return x.Dim(0) * x.Dim(2) * count(x.Dim(1), tileSide) }

// heads are the sizes of an attention: the tokens of a query sequence and of a key's, and the
// heads of both.
func (l *launch) heads(q, key *tensor.Tensor) *launch {
	return l.u32(q.Dim(1)).u32(key.Dim(1)).u32(q.Dim(2)).u32(key.Dim(2))
}

// seen is how many keys each query sees, where positions are not 0, 1, …
func (k *kernels) seen(q, key, qpos, kpos *tensor.Tensor) *tensor.Tensor {
	if qpos == nil && kpos == nil {
		return nil
	}
	k.checkAscends(checkQueries, qpos)
	k.checkAscends(checkKeys, kpos)
	seen := k.scratch(slotSeen, dtype.Int32, q.Dim(1))
	k.each(k.begin(kAttentionSeen).dst(seen).src(qpos).src(kpos).src(k.fault).u32(key.Dim(1)), q.Dim(1), 1)
	return seen
}

// mustFit refuses heads that no kernel takes.
func mustFit(q *tensor.Tensor) {
	must.Hold(q.Dim(3) <= mostHead, "heads of at most 256", q)
}
