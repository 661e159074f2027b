// SPDX-License-Identifier: Apache-2.0

package data_test

import (
	"fmt"
	"os"
	"path/filepath"

	"octet/data"
)

// Two ranks read their parts of a batch; a target is the id that follows its input.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ids.u16") // 0, 1, 2, …, little-endian
	ids := make([]byte, 2*100)
	for i := range 100 {
		ids[2*i] = byte(i)
	}
	if err := os.WriteFile(path, ids, 0o666); err != nil {
		panic(err)
	}
	for rank := range 2 {
		loader, err := data.Open(data.Config{Dataset: "tokens", Path: path, SeqLen: 4, LocalBatch: 2, Rank: rank, Ranks: 2, VocabSize: 256})
		if err != nil {
			panic(err)
		}
		batch := loader.NewBatch()
		if err := loader.Next(batch); err != nil {
			panic(err)
		}
		fmt.Println("rank", rank, batch.Inputs, "then", batch.Targets)
		loader.Close()
	}
	// Output:
	// rank 0 [0 1 2 3 4 5 6 7] then [1 2 3 4 5 6 7 8]
	// rank 1 [8 9 10 11 12 13 14 15] then [9 10 11 12 13 14 15 16]
}

// What cannot be read is found before training begins.
func ExampleSource_Scan() {
	source, err := data.OpenSource(data.Config{Dataset: "tokens", Path: "../testdata/golden/llama_tokens.u16", VocabSize: 100})
	if err != nil {
		panic(err)
	}
	fmt.Println(source.Scan(nil))
	// Output: data: training.dataset_path = "../testdata/golden/llama_tokens.u16": ../testdata/golden/llama_tokens.u16: id 111 at position 4 is outside the vocabulary of 100 (model.args.vocab_size)
}
