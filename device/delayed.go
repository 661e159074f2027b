// SPDX-License-Identifier: Apache-2.0

package device

import (
	"octet/dtype"
	"octet/tensor"
)

// Unseen is a record of Kernels.RecordCast that has seen nothing: its bits as an int32
// are below those of every amax.
const Unseen = float32(-1)

// AmaxHistories are the state of delayed scaling (arXiv 2209.05433, section 4.3) of n
// tensors: what Kernels.SyncHistories makes of a step's records.
type AmaxHistories struct {
	Record     *tensor.Tensor // float32 [n]: the largest amax since the last sync, or Unseen
	Amax       *tensor.Tensor // float32 [n]: the last record that entered the history
	History    *tensor.Tensor // float32 [n,H]: of the last H, the newest first
	Scale, Inv *tensor.Tensor // float32 [n]: that of the history's largest entry
	NotFinite  *tensor.Tensor // int32 [n]: how many records were not finite
	Formats    []dtype.Type   // n, or one for all
	Pow2       bool
}
