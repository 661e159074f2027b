// SPDX-License-Identifier: Apache-2.0

// Package safetensors reads and writes safetensors files: a length, a JSON header that names each tensor with its dtype, shape and
// bytes, then the bytes themselves, little-endian, row-major, without gaps.
//
// [Open] maps a file, or every *.safetensors file of a folder as one set, so that reading some rows of a tensor touches only their pages.
// Every header is checked before a tensor is handed out: what is overlapping, out of range, misshaped or cut short is an error that
// names the file, the tensor and the numbers. [Write] writes one file, complete or not at all.
//
//	set, err := safetensors.Open("llama_init.safetensors")
//	if err != nil {
//		return err
//	}
//	defer set.Close()
//	rows, err := set.Rows("output.weight", 128, 64) // rows 128 to 191, where they lie
//	w := make([]float32, 64*dim)
//	err = safetensors.DecodeFloat32(w, safetensors.F32, rows)
//
// The format: https://huggingface.co/docs/safetensors, section "Format".
package safetensors
