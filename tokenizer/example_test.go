// SPDX-License-Identifier: Apache-2.0

package tokenizer_test

import (
	"fmt"

	"octet/tokenizer"
)

// The ids of a text, and text that is printed while its ids are made: a character of three tokens comes with the last.
func Example() {
	t, err := tokenizer.Open("testdata/llama3")
	if err != nil {
		panic(err)
	}
	ids := t.Encode("for i ≤ n")
	fmt.Println(t, ids)
	d := t.NewDecoder()
	for _, id := range ids {
		fmt.Printf("%q ", d.Next(id))
	}
	fmt.Printf("%q\n", d.Flush())
	// Output:
	// byte-level BPE of 903 tokens [900 69 263 290 220 158 231 97 284]
	// "<|begin_of_text|>" "f" "or" " i" " " "" "" "≤" " n" ""
}
