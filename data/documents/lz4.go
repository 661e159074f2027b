// SPDX-License-Identifier: Apache-2.0

package documents

// lz4Bytes is how many bytes a block of LZ4 makes, or -1 if it is none. parquet-go unpacks a damaged one into twice the memory again and
// again, as long as there is any.
func lz4Bytes(block []byte) int64 {
	made := int64(0)
	for len(block) > 0 {
		token := block[0]
		literals, rest, ok := lz4Length(int64(token>>4), block[1:])
		if !ok || literals > int64(len(rest)) {
			return -1
		}
		made += literals
		if rest = rest[literals:]; len(rest) == 0 && token&15 == 0 {
			return made // a block ends in literals
		}
		if len(rest) < 2 {
			return -1
		}
		if back := int64(rest[0]) | int64(rest[1])<<8; back == 0 || back > made {
			return -1
		}
		match, rest, ok := lz4Length(int64(token&15), rest[2:])
		if !ok {
			return -1
		}
		made += match + 4
		block = rest
	}
	return -1
}

// lz4Length is a length that begins in a token, and what follows it.
func lz4Length(n int64, rest []byte) (int64, []byte, bool) {
	for more := n == 15; more; {
		if len(rest) == 0 {
			return 0, nil, false
		}
		n += int64(rest[0])
		more, rest = rest[0] == 255, rest[1:]
	}
	return n, rest, true
}
