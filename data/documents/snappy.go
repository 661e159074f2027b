// SPDX-License-Identifier: Apache-2.0

package documents

import "encoding/binary"

// snappyLevels is the beginning of what a block of Snappy makes of a page: four bytes, which say how many levels' bytes follow, and these.
// It is less where the block ends or is damaged before.
func snappyLevels(block []byte) []byte {
	head := snappyStart(block, 4)
	if len(head) < 4 {
		return head
	}
	return snappyStart(block, 4+int(binary.LittleEndian.Uint32(head)))
}

// snappyStart is the first n bytes of what a block makes (google/snappy, format_description.txt).
func snappyStart(block []byte, n int) (made []byte) {
	_, head := binary.Uvarint(block) // how many it makes
	for rest := block[max(0, head):]; len(made) < n && len(rest) > 0; {
		tag := rest[0]
		size, bytes := int(tag>>2)+1, [4]int{0, 1, 2, 4}[tag&3] // of a literal or copy, and of the number behind the tag
		switch {
		case tag&3 == 0 && size > 60:
			bytes = size - 60
		case tag&3 == 1:
			size = int(tag>>2&7) + 4
		}
		if rest = rest[1:]; len(rest) < bytes {
			return made
		}
		number := 0
		for i, b := range rest[:bytes] {
			number |= int(b) << (8 * i)
		}
		rest = rest[bytes:]
		if tag&3 == 0 {
			if bytes > 0 {
				size = number + 1
			}
			size = min(size, n-len(made), len(rest))
			made, rest = append(made, rest[:size]...), rest[size:]
			continue
		}
		if tag&3 == 1 {
			number |= int(tag>>5) << 8
		}
		if number == 0 || number > len(made) {
			return made
		}
		for range min(size, n-len(made)) {
			made = append(made, made[len(made)-number])
		}
	}
	return made
}
