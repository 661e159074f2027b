// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// lossy is bytes as text. Each longest beginning of a character that does not go on is one U+FFFD, as in Rust's String::from_utf8_lossy.
func lossy(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	var text strings.Builder
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 {
			n = beginning(raw)
		}
		text.WriteRune(r)
		raw = raw[n:]
	}
	return text.String()
}

// beginning is the length of the longest beginning of a character that raw begins with, at least 1.
func beginning(raw []byte) int {
	n := 1
	for n < len(raw) && n < utf8.UTFMax && !utf8.FullRune(raw[:n]) {
		// What is no whole character yet is whole with a byte that cannot follow: then the beginning ends before it.
		if utf8.FullRune(raw[:n+1]) && !utf8.Valid(raw[:n+1]) {
			break
		}
		n++
	}
	return n
}

// unfinished is the length of the end of raw that may still become a character.
func unfinished(raw []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(raw); n++ {
		if tail := raw[len(raw)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			break
		}
	}
	return 0
}
