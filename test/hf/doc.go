// SPDX-License-Identifier: Apache-2.0

// Package hf tests octet beside Hugging Face's transformers: each loads what the other writes, and computes the same. Its tests need a
// Python that has transformers and PyTorch, named by OCTET_HF_PYTHON; `make test-hf` installs one.
package hf
