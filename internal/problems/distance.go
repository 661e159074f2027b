// SPDX-License-Identifier: Apache-2.0

package problems

// Distance is Levenshtein's: the least number of bytes to insert, remove or replace.
func Distance(a, b string) int {
	row := []int{0} // row[j]: distance between the bytes of a read so far and b[:j]
	for j := range len(b) {
		row = append(row, j+1)
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
