// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"cmp"
	"fmt"
	"slices"
)

// cpu is one that this process may use, and where it lies.
type cpu struct{ number, socket, core int }

// Shares gives each of n ranks CPUs of its own, of those that this process may use: a
// container's or numactl's set where there is one. Shares differ by one CPU at most,
// and the CPUs of a core or a socket stay together as far as that allows.
func Shares(n int) ([][]int, error) {
	all, err := allowed()
	if err != nil {
		return nil, err
	}
	return shares(all, n)
}

func shares(all []cpu, n int) ([][]int, error) {
	if n > len(all) {
		return nil, fmt.Errorf("%d ranks on the %d CPUs that this process may use", n, len(all))
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b cpu) int {
		return cmp.Or(a.socket-b.socket, a.core-b.core, a.number-b.number)
	})
	of := make([][]int, n)
	for r := range of {
		for _, c := range all[r*len(all)/n : (r+1)*len(all)/n] {
			of[r] = append(of[r], c.number)
		}
		slices.Sort(of[r])
	}
	return of, nil
}
