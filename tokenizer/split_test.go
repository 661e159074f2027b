// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"slices"
	"testing"
)

// A metaspace by the scheme first is put before what begins the text, and before no
// other piece of it, whatever has split it before.
func TestTheFirstPieceIsThatOfTheText(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before splitter
		want   []string
	}{
		{"each match", each{literal("-")}, []string{metaspace + "a", "-", "b", "-", "c"}},
		{"merged with the next", split{literal("-"), mergedWithNext, false}, []string{metaspace + "a", "-b", "-c"}},
		{"removed", split{literal("-"), removed, false}, []string{metaspace + "a", "b", "c"}},
	} {
		var got []string
		tt.before.split(piece{"a-b-c", true}, func(p piece) {
			metaspaces{prepend: first}.split(p, func(p piece) { got = append(got, p.text) })
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
