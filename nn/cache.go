// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// KVCache is what the attentions of a model have computed of a sequence so far: its keys, rotated, and its values. A pass in
// Eval mode whose Ctx has one takes x [1,S,D] as the S positions that follow, computes those alone, and adds them:
//
//	c := &nn.Ctx{…, Mode: nn.Eval, Cache: nn.NewKVCache(512)}
//	c.Cache.Extend(len(ids)) // then Forward, of x [1, len(ids), D]
//
// A bad use is a panic.
type KVCache struct {
	max    int // positions there is room for
	n, add int // positions there are; and how many of them are those of the pass that runs
	layers map[*Attention]keysAndValues
	rows   *tensor.Tensor // int32 [max]: 0, 1, …
}

// keysAndValues are one Attention's, [max, KVHeads, HeadDim] each.
type keysAndValues struct{ k, v *tensor.Tensor }

// NewKVCache is an empty cache for sequences of at most max positions. Its memory is taken when it is first used, and lasts.
func NewKVCache(max int) *KVCache { return &KVCache{max: max, layers: map[*Attention]keysAndValues{}} }

// Len is how many positions there are.
func (k *KVCache) Len() int { return k.n }

// Extend says that the pass which comes next is of s more positions.
func (k *KVCache) Extend(s int) {
	if s < 1 || k.n+s > k.max {
		panic(fmt.Sprintf("nn: a cache for %d positions, which has %d, is to get %d more", k.max, k.n, s))
	}
	k.n, k.add = k.n+s, s
}

// Reset empties the cache for another sequence.
func (k *KVCache) Reset() { k.n, k.add = 0, 0 }

// positions are those of the pass, int32 [S].
func (k *KVCache) positions(c *Ctx) *tensor.Tensor {
	if k.rows == nil {
		rows := make([]int32, k.max)
		for i := range rows {
			rows[i] = int32(i)
		}
		k.rows = c.Pool.Lasting().New(dtype.Int32, k.max)
		c.Stream.Upload(k.rows, device.Int32Bytes(rows))
	}
	return k.rows.Rows(k.n-k.add, k.n)
}

// put adds keys and values [1, S, KVHeads, HeadDim] of the pass, and returns all there are.
func (k *KVCache) put(c *Ctx, a *Attention, keys, values *tensor.Tensor) (allKeys, allValues *tensor.Tensor) {
	l, ok := k.layers[a]
	if !ok {
		pool := c.Pool.Lasting()
		l = keysAndValues{pool.New(keys.Type, k.max, keys.Dim(-2), a.HeadDim), pool.New(values.Type, k.max, values.Dim(-2), a.HeadDim)}
		k.layers[a] = l
	}
	c.Stream.Copy(l.k.Rows(k.n-k.add, k.n), keys)
	c.Stream.Copy(l.v.Rows(k.n-k.add, k.n), values)
	there := func(t *tensor.Tensor) *tensor.Tensor { return t.Rows(0, k.n).View(1, k.n, t.Dim(1), t.Dim(2)) }
	return there(l.k), there(l.v)
}

// forwardCached is Forward of positions that follow those of c.Cache.
func (a *Attention) forwardCached(c *Ctx, x *Var) *Var {
	k, s := c.Cache, x.Shape()[1]
	if c.Mode != Eval || x.Shape()[0] != 1 || s != k.add {
		panic(fmt.Sprintf("nn: attention to %v with a cache that was extended by %d: want Eval mode, and x [1,%d,D]", x.Shape(), k.add, k.add))
	}
	query, key, value := a.WQ.Forward(c, x), a.WK.Forward(c, x), a.WV.Forward(c, x)
	table, at := a.RoPE.On(c, k.n), k.positions(c)
	heads := func(t *tensor.Tensor) *tensor.Tensor { return t.View(1, s, a.heads(t), a.HeadDim) }
	qh, kh := heads(query.Value.Tensor), heads(key.Value.Tensor)
	c.Stream.RoPE(qh, table, at, false, nil)
	c.Stream.RoPE(kh, table, at, false, nil)
	keys, values := k.put(c, a, kh, heads(value.Value.Tensor))
	o := c.Op(nil, query.Shape()...)
	lse := c.Pool.New(dtype.Float32, 1, qh.Dim(2), s)
	c.Stream.Attention(heads(o.Value.Tensor), lse, qh, keys, values, at, nil, o.amaxFor(c, &a.WO))
	c.Pool.Free(lse)
	query.Done(c)
	key.Done(c)
	value.Done(c)
	return Last(c, a.WO, o)
}
