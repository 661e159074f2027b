// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Compare returns an error that names every value in which a rank differs from
// the first that has it, with the ranks, their hosts and both values; nil if all
// agree. Of the ranks that differ in a value the first is named, and how many
// there are.
func Compare(claims []Claim) error {
	var differences []string
	compare := func(claims []Claim, values func(Claim) map[string]string) {
		keys := map[string]bool{}
		for _, c := range claims {
			for key := range values(c) {
				keys[key] = true
			}
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if text := difference(claims, key, values); text != "" {
				differences = append(differences, text)
			}
		}
	}
	compare(claims, func(c Claim) map[string]string { return c.Job })
	hosts := map[int][]Claim{}
	for _, c := range claims {
		hosts[c.GroupRank] = append(hosts[c.GroupRank], c)
	}
	for _, group := range slices.Sorted(maps.Keys(hosts)) {
		compare(hosts[group], func(c Claim) map[string]string { return c.OnHost })
	}
	if len(differences) == 0 {
		return nil
	}
	return fmt.Errorf("the ranks were not asked for the same:\n\t%s", strings.Join(differences, "\n\t"))
}

// difference says how claims differ in a key; it is empty if they do not.
func difference(claims []Claim, key string, values func(Claim) map[string]string) string {
	var first, other *Claim
	others := 0
	for i := range claims {
		c := &claims[i]
		value, ok := values(*c)[key]
		switch {
		case !ok:
		case first == nil:
			first = c
		case value != values(*first)[key]:
			if others++; other == nil {
				other = c
			}
		}
	}
	if others == 0 {
		return ""
	}
	text := fmt.Sprintf("%s: %s on rank %d (%s), but %s on rank %d (%s)",
		key, values(*first)[key], first.Rank, first.Host, values(*other)[key], other.Rank, other.Host)
	if others > 1 {
		text += fmt.Sprintf("; %d more differ from rank %d", others-1, first.Rank)
	}
	return text
}
