// SPDX-License-Identifier: Apache-2.0

package device

import (
	"octet/dtype"
	"octet/tensor"
)

// Ignored is the target of a position that has none, as torch's ignore_index: it
// has no loss and no gradient.
const Ignored = -100

// Kernels is the arithmetic a device offers. Destinations come first and the
// caller owns all memory. Unless a method says otherwise a destination must
// not overlap a source, "high precision" is float32 or bfloat16 (each tensor on
// its own), sums and intermediate values are float32, and results are rounded
// once, to nearest even. Results do not depend on the number of threads.
//
// An amax that a method names last is that of what it writes, float32 [], with the
// bits of Amax, taken while it is written; nil: nobody wants it.
type Kernels interface {
	// Zero clears t.
	Zero(t *tensor.Tensor)
	// Copy converts src, high precision, to dst's type; equal numel. Equal
	// types of any kind are copied as bytes.
	Copy(dst, src *tensor.Tensor)
	// Add is dst = a + b; dst may be a or b.
	Add(dst, a, b *tensor.Tensor)

	// Amax stores the largest |x| of each tensor: dst float32 [len(ts)]. An
	// empty tensor gives 0; a NaN anywhere gives NaN (0x7FC00000).
	Amax(dst *tensor.Tensor, ts []*tensor.Tensor)
	// Scales turns amaxes into scales and their reciprocals, elementwise: scale,
	// inv, amax float32 [n]; formats has n entries, or one for all
	// (dtype.Format.Scale). inv is float32(1/scale).
	Scales(scale, inv, amax *tensor.Tensor, formats []dtype.Type, pow2 bool)
	// Cast is dst = encode(f32(src)·dst.Scale), saturating; dst's type is the
	// format, and its scale (nil: 1) that of the whole tensor, of a row or of a column,
	// as its shape says. dstT, which is Transposed, receives the same bytes [C,R] and
	// carries the same scale. Either may be empty (no Tensor); src is read once.
	// A src of high precision with an Inv, of any of these shapes, is multiplied by it
	// first, in float32: a scale is folded in, and nothing is written in between.
	// A float8 src is divided by its scale first (without one, multiplied by its
	// Inv), and may also be widened: dst is then high precision, without a scale. One
	// that becomes another float8 has, and gets, a scale for the whole tensor.
	Cast(dst, dstT, src tensor.Operand)
	// DynamicCast writes src's own scales to dst.Scale and their reciprocals to
	// dst.Inv, then casts: Amax, Scales and Cast in one call. src is high
	// precision, and its amaxes are taken after its Inv is folded in. The shape of
	// dst.Scale says what shares a scale: the tensor, a row [R,1] or a column [1,C]
	// of src. An Amax of src is taken for its amax where there is one scale and nothing to
	// fold in, and src is read once. A call has one scale, whatever it writes: rows for one matmul and
	// columns for another are two casts, because all their bytes differ.
	DynamicCast(dst, dstT, src tensor.Operand, pow2 bool)
	// RecordCast is Cast of high precision by a scale that is given and, in the same
	// read of src, its amax: dst.Scale and dst.Inv receive those of given, which they
	// may be, and record, float32 [], becomes the larger of itself and the amax, by
	// their bits as int32, in which NaN is above all and Unseen below. Without a
	// record it only casts.
	RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor)
	// SyncHistories takes each record that is not Unseen: it becomes amax and the
	// newest of the history, whose oldest falls off, and the history's largest gives
	// scale and inv, as Scales does. One that is not finite changes nothing and is
	// counted. Then all records are Unseen.
	SyncHistories(h AmaxHistories)
	// CastStats measures what a cast has done: q, float8, is the cast of src [R,C], high
	// precision (with its Inv folded in, where it has one). It raises maxima, float32
	// [NumCastMaxima], and adds to sums, float32 [NumCastSums]; both are the caller's to
	// clear. It is for diagnosis, and reads all elements one by one.
	CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand)
	// Transpose is dst [C,R] = src [R,C] transposed, of any type of 1, 2 or 4 bytes.
	Transpose(dst, src *tensor.Tensor)

	// Float8TN reports whether matmuls read only, or read fast, such float8 operands whose summed
	// dimension is contiguous, so that casts must write what lies so.
	Float8TN() bool
	// MatMul is dst = op(a)·op(b), or dst += op(a)·op(b).
	MatMul(dst *tensor.Tensor, a, b tensor.Operand, o MatMulOptions)
	// AddBias is y[r,c] += bias[c], rounded to y's type.
	AddBias(y, bias *tensor.Tensor)
	// BiasGrad is db[c] = Σ_r dy[r,c]; db float32.
	BiasGrad(db, dy *tensor.Tensor)

	// Embedding is y[t,:] = table[ids[t]-offset,:]; y [T,D], table [V,D], ids int32 [T].
	// The table has the ids from offset on of a vocabulary of vocab; the other ids give
	// zeros. An id outside [0,vocab) is an error of the stream, here and in the gradient.
	Embedding(y, table, ids *tensor.Tensor, offset, vocab int)
	// EmbeddingGrad overwrites dtable with the sum of dy[t,:] at row ids[t]-offset, in
	// order of t; dtable float32 [V,D].
	EmbeddingGrad(dtable, dy, ids *tensor.Tensor, offset, vocab int)

	// RMSNorm is y = s·rstd·w where s = x + residual (residual nil: s = x) and
	// rstd = 1/sqrt(mean(s²)+eps). All but rstd (float32 [T]) and w [D] are
	// [T,D]. sum receives s where residual is given; it may be x or residual.
	// s is rounded to sum's type before the norm.
	RMSNorm(y, sum, rstd, x, residual, w *tensor.Tensor, eps float32, amax *tensor.Tensor)
	// RMSNormGrad is dx = add + the gradient of s, dw = the gradient of w
	// (float32 [D], overwritten). add may be nil or dx itself.
	RMSNormGrad(dx, dw, dy, s, rstd, w, add, amax *tensor.Tensor)

	// LayerNorm is y = (x - mean)·rstd·w + b with the mean of each row of x and
	// rstd = 1/sqrt(mean((x - mean)²)+eps). mean and rstd are float32 [T], w and b
	// [D], the others [T,D].
	LayerNorm(y, mean, rstd, x, w, b *tensor.Tensor, eps float32)
	// LayerNormGrad is dx = add + the gradient of x, dw = the gradient of w (float32
	// [D], overwritten); that of b is BiasGrad. add may be nil or dx itself.
	LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add *tensor.Tensor)

	// RoPE rotates the interleaved pairs of each head in place: x [B,S,H,hd],
	// table float32 [N, hd/2, 2] of (cos, sin). pos int32 [S] is the row of the
	// table of each token of a sequence, in any order (nil: 0..S-1, N >= S); one
	// outside [0,N) is an error of the stream. inverse rotates back.
	RoPE(x, table, pos *tensor.Tensor, inverse bool, amax *tensor.Tensor)
	// Attention is causal softmax(q·kᵀ/sqrt(hd))·v for q, o [B,Sq,H,hd] and
	// k, v [B,Sk,KV,hd]; query head h reads key head h/(H/KV). Query i sees key
	// j where kpos[j] <= qpos[i]: qpos int32 [Sq] and kpos int32 [Sk], of all
	// sequences alike (nil: 0, 1, …). A position below the one before it, or
	// below 0, is an error of the stream. lse is float32 [B,H,Sq]: the logarithm
	// of each row's sum of exponentials. A query that sees no key has o = 0 and
	// lse = -infinity. The matrix of scores is never stored. amax is o's.
	//
	// Attention over parts of the keys is that over all with
	// lse = log Σ exp(lse_part) and o = Σ exp(lse_part - lse)·o_part.
	Attention(o, lse, q, k, v, qpos, kpos, amax *tensor.Tensor)
	// AttentionGrad overwrites dq, dk and dv. With the o and lse of all keys and
	// k, v a part of them, dk and dv are the part's, and dq is a term of a sum
	// over the parts. Of bf16 tensors, P and the gradient of scores may be rounded
	// to bf16 for the products that read them. amax is dv's: dq and dk go on to RoPE.
	AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, qpos, kpos, amax *tensor.Tensor)

	// SwiGLU is h = silu(gate)·up, elementwise.
	SwiGLU(h, gate, up, amax *tensor.Tensor)
	// SwiGLUGrad overwrites dgate and dup, which may be gate and up; each has an amax.
	SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax *tensor.Tensor)

	// Activate is y = f(x), elementwise; y may be x.
	Activate(y, x *tensor.Tensor, f Activation)
	// ActivateGrad is dx = dy·f'(x); dx may be dy. Where f is ReLU, x may be its output.
	ActivateGrad(dx, dy, x *tensor.Tensor, f Activation)

	// CrossEntropy adds scale·Σ_t -log softmax(logits[t])[targets[t]] to loss
	// (float32 [1]; nil: to nothing) and overwrites logits [T,V] with their
	// gradient, scale·(softmax - onehot). targets int32 [T], of which some may
	// be Ignored. Any other target outside [0,V) is an error of the
	// stream. scale is float32 [1]. It is the two phases below in one, whose sums
	// need not be rounded in between.
	CrossEntropy(loss, logits, targets, scale *tensor.Tensor)
	// CrossEntropyStats is the first phase where logits [T,V] are a slice, from
	// offset on, of a vocabulary of vocab ids spread over ranks: the slice's
	// max, sum = Σ exp(logit - max), and the target's logit where the slice
	// holds it, otherwise 0; all float32 [T]. An empty slice, or one of
	// -infinities, has max -infinity and sum 0. Rows that are ignored give
	// zeros. Every rank then knows the statistics of the whole after
	//
	//	Copy(whole, max)            whole float32 [T]
	//	AllReduce(whole, Max)
	//	RescaleSum(sum, max, whole)
	//	AllReduce(sum, Sum)
	//	AllReduce(target, Sum)
	//
	// and passes whole, sum and target to the second phase. A target outside
	// [0,vocab) that is not Ignored is an error of the stream.
	CrossEntropyStats(max, sum, target, logits, targets *tensor.Tensor, offset, vocab int)
	// RescaleSum is sum·= exp(from - to): a sum of exponentials relative to from
	// becomes one relative to to; all float32 [T].
	RescaleSum(sum, from, to *tensor.Tensor)
	// CrossEntropyGrad is the second phase: it adds the loss of the whole
	// vocabulary to loss (one rank counts it, the others pass nil) and
	// overwrites the slice with its gradient, as CrossEntropy does.
	CrossEntropyGrad(loss, logits, max, sum, target, targets *tensor.Tensor, offset int, scale *tensor.Tensor)
	// SquaredError adds scale·Σ (y - target)² to loss (float32 [1]) and overwrites y
	// with its gradient, 2·scale·(y - target). scale is float32 [1].
	SquaredError(loss, y, target, scale *tensor.Tensor)
	// Reciprocal is dst = 1/n, rounded once; dst float32 [1], n int32 [1]. Of 0 it
	// is +infinity.
	Reciprocal(dst, n *tensor.Tensor)

	// SumSquares is dst = Σ over all tensors of Σ x²; dst float32 [1]. Sums are
	// float64 until the end.
	SumSquares(dst *tensor.Tensor, ts []*tensor.Tensor)
	// ClipCoef turns a global sum of squares into norm = sqrt(sumsq) and
	// coef = min(1, maxNorm/(norm+1e-6)); maxNorm <= 0 gives coef 1. A norm that
	// is not finite gives NaN. All float32 [1].
	ClipCoef(norm, coef, sumsq *tensor.Tensor, maxNorm float32)
	// AdamW updates each p, m, v (float32) with g·coef (coef float32 [1], nil:
	// 1), in the order of operations of arXiv 1711.05101 as PyTorch has it:
	// decay first, eps outside the corrected root. steps, int32 [1], counts the
	// updates and goes up by one before. Where coef is NaN nothing is written.
	AdamW(p, g, m, v []*tensor.Tensor, steps, coef *tensor.Tensor, o AdamWOptions)
}

// The places of what CastStats measures, in maxima: the largest |src|, the largest
// scale and the largest reciprocal of one. A NaN is larger than all else.
const (
	CastAmax = iota
	CastMaxScale
	CastMaxInv
	NumCastMaxima
)

// And in sums: how many elements there are; how many were saturated, because times
// their scale they round to more than the format's largest value; how many underflowed,
// from another value to 0; Σ src²; and Σ (src - q)², with q as a matmul reads it.
const (
	CastCount = iota
	CastSaturated
	CastUnderflowed
	CastSignal
	CastError
	NumCastSums
)

// Activation is a function of one number, for Activate.
type Activation uint8

// The activations: max(x, 0), which keeps NaN; x·Φ(x) with the normal distribution
// function Φ (arXiv 1606.08415); and its approximation
// x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2.
const (
	ReLU Activation = iota
	GELU
	GELUTanh
)

// MatMulOptions choose which operands are read transposed. With TransA,
// the value of a is [K,M], otherwise [M,K]; with TransB, that of b is [N,K],
// otherwise [K,N]; leading dimensions are flattened into the first. An operand's
// own Transposed says how that value lies in memory. dst is [M,N], high
// precision. Operands are high precision or float8. An operand with a Scale has
// an Inv: dst[i,j] = acc[i,j] · (a.Inv · b.Inv), rounded once. Inv is one number,
// or a's has one for each i and b's one for each j; several along the summed
// dimension are refused.
type MatMulOptions struct {
	TransA, TransB bool
	Accumulate     bool // dst += instead of =
	// FastAccum allows sums in less than float32 inside chunks of K, as a
	// GPU's float8 units do.
	FastAccum bool
	// Series says that products which follow one another on a stream have one b, whose values stay: what a device makes of it
	// for the first serves the next ones.
	Series Series
}

// Series is the place of a product among those of one b.
type Series uint8

// A product is alone, or the first or a later one of several.
const (
	Alone Series = iota
	First
	Next
)

// AdamWOptions are the numbers of one update. With L2 the decay is a part of the
// gradient, as Adam has it, and not decoupled.
type AdamWOptions struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	L2                                 bool
}
