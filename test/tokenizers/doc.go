// SPDX-License-Identifier: Apache-2.0

// Package tokenizers compares octet's tokenizer with the Rust library, PyPI's tokenizers, which a Python of the variable OCTET_TOKENIZERS_PYTHON has:
// ids and texts on all of Go's source and on random Unicode, and speed. It has tests only; without the variable they skip (`make
// test-tokenizers`).
package tokenizers
