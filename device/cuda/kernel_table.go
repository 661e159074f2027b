// SPDX-License-Identifier: Apache-2.0

package cuda

// kernel is one of the functions of package kernels.
type kernel uint8

// The kernels, in the order of kernelTable.
const (
	kFill kernel = iota
	kMove
	kConvert
	kAdd
	kSwiGLU
	kSwiGLUGrad
	kActivate
	kActivateGrad
	kReciprocal
	kCast
	kCastTransposed
	kCastRows
	kTranspose1
	kTranspose2
	kTranspose4
	kAmax
	kAmaxWhole
	kAmaxRows
	kAmaxCols
	kScales
	kSyncHistories
	kCastStats
	kCastStatsSum
	kRMSNorm
	kRMSNormGrad
	kLayerNorm
	kLayerNormGrad
	kColumnSum
	kRowSums
	kAddBias
	kSumSquares
	kSquaredError
	kTotal
	kCrossEntropy
	kCrossEntropyStats
	kCrossEntropyGrad
	kRescaleSum
	kCheckIDs
	kEmbedding
	kSortRuns
	kMergeRuns
	kEmbeddingGrad
	kRoPE
	kClipCoef
	kAdamWStep
	kAdamW
	kAttention
	kAttentionSeen
	kAttentionDelta
	kAttentionGradQ
	kAttentionGradKV
	kFlash64
	kFlash128
	kFlashGradQ64
	kFlashGradQ128
	kFlashGradKV64
	kFlashGradKV128
	kMatMul
	kMatMulNarrow
	kScaleProduct
	numKernels
)

// kernelTable has of each its name and the threads of a block, as its text declares them.
var kernelTable = [numKernels]struct {
	name    string
	threads uint32
}{
	kFill:              {"fill", 256},
	kMove:              {"move", 256},
	kConvert:           {"convert", 256},
	kAdd:               {"add", 256},
	kSwiGLU:            {"swiglu", 256},
	kSwiGLUGrad:        {"swiglu_grad", 256},
	kActivate:          {"activate", 256},
	kActivateGrad:      {"activate_grad", 256},
	kReciprocal:        {"reciprocal", 32},
	kCast:              {"cast", 256},
	kCastTransposed:    {"cast_transposed", 256},
	kCastRows:          {"cast_rows", 256},
	kTranspose1:        {"transpose1", 256},
	kTranspose2:        {"transpose2", 256},
	kTranspose4:        {"transpose4", 256},
	kAmax:              {"amax", 256},
	kAmaxWhole:         {"amax_whole", 256},
	kAmaxRows:          {"amax_rows", 256},
	kAmaxCols:          {"amax_cols", 256},
	kScales:            {"scales", 256},
	kSyncHistories:     {"sync_histories", 256},
	kCastStats:         {"cast_stats", 256},
	kCastStatsSum:      {"cast_stats_sum", 32},
	kRMSNorm:           {"rmsnorm", 256},
	kRMSNormGrad:       {"rmsnorm_grad", 512},
	kLayerNorm:         {"layernorm", 256},
	kLayerNormGrad:     {"layernorm_grad", 512},
	kColumnSum:         {"column_sum", 64},
	kRowSums:           {"row_sums", 256},
	kAddBias:           {"add_bias", 256},
	kSumSquares:        {"sum_squares", 256},
	kSquaredError:      {"squared_error", 256},
	kTotal:             {"total", 1024},
	kCrossEntropy:      {"cross_entropy", 512},
	kCrossEntropyStats: {"cross_entropy_stats", 512},
	kCrossEntropyGrad:  {"cross_entropy_grad", 512},
	kRescaleSum:        {"rescale_sum", 256},
	kCheckIDs:          {"check_ids", 1024},
	kEmbedding:         {"embedding", 256},
	kSortRuns:          {"sort_runs", 256},
	kMergeRuns:         {"merge_runs", 256},
	kEmbeddingGrad:     {"embedding_grad", 256},
	kRoPE:              {"rope", 256},
	kClipCoef:          {"clip_coef", 32},
	kAdamWStep:         {"adamw_step", 32},
	kAdamW:             {"adamw", 256},
	kAttention:         {"attention", 128},
	kAttentionSeen:     {"attention_seen", 256},
	kAttentionDelta:    {"attention_delta", 128},
	kAttentionGradQ:    {"attention_grad_q", 128},
	kAttentionGradKV:   {"attention_grad_kv", 128},
	kFlash64:           {"flash64", 128},
	kFlash128:          {"flash128", 128},
	kFlashGradQ64:      {"flash_grad_q64", 128},
	kFlashGradQ128:     {"flash_grad_q128", 128},
	kFlashGradKV64:     {"flash_grad_kv64", 128},
	kFlashGradKV128:    {"flash_grad_kv128", 128},
	kMatMul:            {"matmul", 256},
	kMatMulNarrow:      {"matmul_narrow", 128},
	kScaleProduct:      {"scale_product", 256},
}

func (k kernel) String() string  { return kernelTable[k].name }
func (k kernel) threads() uint32 { return kernelTable[k].threads }
