// SPDX-License-Identifier: Apache-2.0

package safetensors_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"octet/checkpoint/safetensors"
)

// A tensor is written, and its last row read from where it lies in the file.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "w.safetensors")
	var data []byte
	for _, bf16 := range []uint16{0x3f80, 0x4000, 0x4040, 0x4080} { // 1, 2, 3, 4
		data = binary.LittleEndian.AppendUint16(data, bf16)
	}
	if err := safetensors.Write(path, nil, []safetensors.Tensor{{Name: "weight", DType: safetensors.BF16, Shape: []int{2, 2}, Data: data}}); err != nil {
		panic(err)
	}

	set, err := safetensors.Open(path)
	if err != nil {
		panic(err)
	}
	defer set.Close()
	info, _ := set.Info("weight")
	raw, err := set.Rows("weight", 1, 1)
	if err != nil {
		panic(err)
	}
	row := make([]float32, 2)
	if err := safetensors.DecodeFloat32(row, info.DType, raw); err != nil {
		panic(err)
	}
	fmt.Println(info.DType, info.Shape, row)
	// Output: BF16 [2 2] [3 4]
}
