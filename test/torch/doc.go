// SPDX-License-Identifier: Apache-2.0

// Package torch has tests beside the real PyTorch, where one is installed: its
// programs run under octet's launcher as they do under torchrun, its clients find
// in octet's store what they find in its own, and octet's ranks meet in its store.
//
//	make test-torch
//
// makes a virtual environment with PyTorch and runs them; OCTET_TORCH_PYTHON names
// the interpreter of another one.
package torch
