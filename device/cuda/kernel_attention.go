// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/dtype"
	"octet/tensor"
)

// mostHead is the largest head that the general kernels take.
const mostHead = 256

// rowsABlock is how many rows a block of attention has, one a warp.
const rowsABlock = 4

// Attention is causal attention; see device.Kernels.
func (k *kernels) Attention(o, lse, q, key, v, qpos, kpos *tensor.Tensor) {
	must.Attention(o, lse, q, key, v, qpos, kpos)
	mustFit(q)
	seen := k.seen(q, key, qpos, kpos)
	k.over(k.begin(kAttention).dst(o).dst(lse).src(q).src(key).src(v).src(seen).heads(q, key), count(lse.Numel(), rowsABlock))
}

// AttentionGrad is the gradient of Attention; see device.Kernels.
func (k *kernels) AttentionGrad(dq, dk, dv, do, q, key, v, o, lse, qpos, kpos *tensor.Tensor) {
	must.AttentionGrad(dq, dk, dv, do, q, key, v, o, lse, qpos, kpos)
	mustFit(q)
	seen := k.seen(q, key, qpos, kpos)
	delta := k.scratch(slotRows, dtype.Float32, lse.Numel())
	rows := count(lse.Numel(), rowsABlock)
	k.over(k.begin(kAttentionDelta).dst(delta).src(do).src(o).u32(q.Dim(1)).u32(q.Dim(2)).u32(q.Dim(3)), rows)
	k.over(k.begin(kAttentionGradQ).dst(dq).src(do).src(q).src(key).src(v).src(lse).src(delta).src(seen).heads(q, key), rows)
	l := k.begin(kAttentionGradKV).dst(dk).dst(dv).src(do).src(q).src(key).src(v).src(lse).src(delta).src(seen).heads(q, key)
	k.over(l, count(key.Dim(0)*key.Dim(1)*key.Dim(2), rowsABlock))
}

// heads are the sizes of an attention: the tokens of a query sequence and of a key's, the
// heads of both, and the elements of one.
func (l *launch) heads(q, key *tensor.Tensor) *launch {
	return l.u32(q.Dim(1)).u32(key.Dim(1)).u32(q.Dim(2)).u32(key.Dim(2)).u32(q.Dim(3))
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
