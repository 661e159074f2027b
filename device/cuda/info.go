// SPDX-License-Identifier: Apache-2.0

package cuda

// Info is what a driver says of a GPU.
type Info struct {
	Name, PCI    string // as "NVIDIA H200", "0000:1b:00.0"
	Capability   int    // 90 is compute capability 9.0
	Processors   int    // streaming multiprocessors
	SharedMemory int    // bytes that a block may have
	Memory       int64  // bytes
}
