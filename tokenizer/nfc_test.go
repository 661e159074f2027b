// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// Of characters that Unicode 9 has, in runs that golang.org/x/text does not part, both compose alike.
func TestCompositionIsUnicodes(t *testing.T) {
	n := newNFC()
	marks := []rune("\u0300\u0301\u0305\u0323\u0327\u0345\u05b0\u064b\u3099\u0338")
	bases := []rune("aAeéÅqộ\u0958\u1100\u1161\u11a8가각\u212b\u1e9b\u03b1\u0915\u30ab x")
	r := rand.New(rand.NewPCG(9, 10))
	for range 20000 {
		var text []rune
		for range 1 + r.IntN(8) {
			from := bases
			if r.IntN(3) > 0 {
				from = marks
			}
			text = append(text, from[r.IntN(len(from))])
		}
		if got, want := n.normalize(string(text)), norm.NFC.String(string(text)); got != want {
			t.Fatalf("%+q is composed to %+q, want %+q", string(text), got, want)
		}
	}
}
