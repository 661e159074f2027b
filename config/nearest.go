// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"

	"octet/internal/problems"
)

// unknown is the error text for a name that is not known, with the nearest known one where one is near.
func unknown(what, name string, known []string) error {
	best, distance := "", 0
	slices.Sort(known) // of equally near names, the first
	for _, k := range known {
		// A right key in a wrong section (training.lr for optimizer.lr) is as near as one wrong letter.
		d := min(problems.Distance(name, k), 1+problems.Distance(leaf(name), leaf(k)))
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
