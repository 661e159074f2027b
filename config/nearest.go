// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"
)

// unknown is the error text for a name that is not known, with the nearest known one where one is near.
func unknown(what, name string, known []string) error {
	best, distance := "", 0
	slices.Sort(known) // of equally near names, the first
	for _, k := range known {
		// A right key in a wrong section (training.lr for optimizer.lr) is as near as one wrong letter.
		d := min(editDistance(name, k), 1+editDistance(leaf(name), leaf(k)))
		if best == "" || d < distance {
			best, distance = k, d
		}
	}
	// More than a third of its letters makes another word.
	if best == "" || distance > max(1, (len(leaf(name))+2)/3) {
		return fmt.Errorf("unknown %s %s; `octet train --help` lists them all", what, name)
	}
	return fmt.Errorf("unknown %s %s; did you mean %s?", what, name, best)
}

func leaf(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// editDistance is Levenshtein's: the least number of bytes to insert, remove or replace.
func editDistance(a, b string) int {
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
