// SPDX-License-Identifier: Apache-2.0

// Package hf exchanges Llamas with Hugging Face's transformers: folders of config.json, model.safetensors (or shards of it with
// model.safetensors.index.json) and a tokenizer's files, as LlamaForCausalLM reads and writes them.
//
// ReadConfig gives the sizes of the model in a folder. Open gives its tensors under octet's names, with the rows of wq and wk in octet's
// order, so that what reads octet's own files reads a folder (checkpoint.From). Export writes a folder of any source of rows.
//
// What a folder asks for and octet does not compute, another architecture or a setting, is an error that names it.
//
// The names and the order of rows: transformers' models/llama/convert_llama_weights_to_hf.py. transformers rotates the two halves of a
// head, where octet and the original Llama rotate adjacent pairs: row 2j+k of octet's head is row k·d/2+j of transformers', of d rows.
package hf
