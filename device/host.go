// SPDX-License-Identifier: Apache-2.0

package device

import "unsafe"

// Float32Bytes and Int32Bytes are the memory of x, for Upload and Download.
func Float32Bytes(x []float32) []byte { return bytesOf(x) }
func Int32Bytes(x []int32) []byte     { return bytesOf(x) }

func bytesOf[T float32 | int32](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
