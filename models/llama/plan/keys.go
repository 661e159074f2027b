// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"strings"
)

// inKeys is an error of the library, which speaks of its own fields, in the keys of
// the configuration that set them.
func inKeys(err error) error {
	if err == nil {
		return nil
	}
	keys := strings.NewReplacer(
		"float8: EnableFsdpFloat8AllGather", "quantize.linear.float8.enable_fsdp_float8_all_gather",
		"FilterFQNs", "quantize.linear.float8.filter_fqns",
		"Float8.Skip", "quantize.linear.float8.filter_fqns",
		"Recompute.Every", "activation_checkpoint.selective_ac_option",
		"Args.HeadSize", "model.args.head_dim",
		"Args.RopeLowFreq", "model.args.rope_low_freq_factor",
		"Args.RopeHighFreq", "model.args.rope_high_freq_factor",
		"Args.Dim / Heads", "model.args.dim / n_heads",
		"Args.Dim", "model.args.dim",
		"Args.Heads", "model.args.n_heads",
		"Args.KVHeads", "model.args.n_kv_heads",
		"Args.MaxSeqLen", "model.args.max_seq_len",
		"seqLen", "training.seq_len",
	)
	return errors.New(keys.Replace(err.Error()))
}
