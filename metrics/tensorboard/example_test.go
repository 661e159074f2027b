// SPDX-License-Identifier: Apache-2.0

package tensorboard_test

import (
	"fmt"
	"os"

	"octet/metrics"
	"octet/metrics/tensorboard"
)

// A loop that reports its steps to TensorBoard.
func Example() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	board, err := tensorboard.Create(folder, tensorboard.Options{LogFreq: 1}, func(text string) { fmt.Println(text) })
	if err != nil {
		panic(err)
	}
	for step := range 3 {
		board.Step(metrics.Record{Step: step + 1, Loss: 5.5 - float64(step)})
	}
	fmt.Println(board.Close())
	// Output: <nil>
}
