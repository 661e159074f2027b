// SPDX-License-Identifier: Apache-2.0

package device

import (
	"time"

	"octet/tensor"
)

// Tuner is a device whose library has several algorithms for a matrix product.
type Tuner interface {
	// Tune times the algorithms for the product that MatMul would make of the arguments on a stream of the device, in turns, so many or
	// as many as come within a time, and has MatMul take the fastest for such products from then on. It waits for the stream. What is in dst then is of no use.
	Tune(s Stream, dst *tensor.Tensor, a, b tensor.Operand, o MatMulOptions, turns int, within time.Duration) (Tuning, error)
	// SaveTuned keeps what was tuned in a file, which devices of this kind read when they are opened, and returns its path.
	SaveTuned() (path string, err error)
}

// Tuning is what was found for a product.
type Tuning struct {
	Times []time.Duration // medians of each algorithm, the library's own choice first; 0 is one that does not run
	Best  int             // the fastest of them
	Own   string          // instead: why the library does not make the product
}
