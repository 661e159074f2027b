// SPDX-License-Identifier: Apache-2.0

package tokenizer

import "strings"

// normalizer changes a text before it is split.
type normalizer interface{ normalize(text string) string }

// sequence is one normalizer after the other.
type sequence []normalizer

func (s sequence) normalize(text string) string {
	for _, n := range s {
		text = n.normalize(text)
	}
	return text
}

// prepend puts itself before a text that is not empty.
type prepend string

func (p prepend) normalize(text string) string {
	if text == "" {
		return ""
	}
	return string(p) + text
}

// replace replaces a string.
type replace struct{ from, to string }

func (r replace) normalize(text string) string { return strings.ReplaceAll(text, r.from, r.to) }
