// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"cmp"
	"fmt"
	"slices"
)

// CPU is one of the CPUs that ranks may use, and where it lies.
type CPU struct {
	Number, Socket, Core int // Core counts within the socket
	Cache                int // the first CPU of those that share its largest cache
}

// Rule is how CPUs are given to ranks, as torchrun's --numa-binding has it. Local rank r has
// the r-th visible GPU.
type Rule string

// The rules.
const (
	Node        Rule = "node"         // all CPUs beside the rank's GPU
	Socket      Rule = "socket"       // all of the sockets that have those
	Exclusive   Rule = "exclusive"    // of those beside the GPU whole cores of its own: an equal share for each visible GPU there
	CoreComplex Rule = "core-complex" // of those beside the GPU some that share a cache, others for each GPU while there are any
)

// Rules are all of them.
func Rules() []Rule { return []Rule{Node, Socket, Exclusive, CoreComplex} }

// Bind gives each of n ranks CPUs by a rule, of allowed alone. gpus are those that CUDA shows
// the ranks.
func (r Rule) Bind(gpus []GPU, allowed []CPU, n int) ([][]int, error) {
	if n > len(gpus) {
		return nil, fmt.Errorf("%d ranks on %d GPUs: CUDA_VISIBLE_DEVICES shows no more", n, len(gpus))
	}
	of := make([][]int, n)
	for i, g := range gpus[:n] {
		if len(g.CPUs) == 0 {
			return nil, fmt.Errorf("the driver does not say which CPUs are beside GPU %d (%s)", g.Index, g.PCI)
		}
		beside := slices.DeleteFunc(slices.Clone(allowed), func(c CPU) bool { return !slices.Contains(g.CPUs, c.Number) })
		if len(beside) == 0 {
			return nil, fmt.Errorf("GPU %d (%s) is beside CPUs %s, of which this process may use none", g.Index, g.PCI, CPUList(g.CPUs))
		}
		// Its place among the visible GPUs that have the same CPUs.
		place, there := 0, 0
		for j, other := range gpus {
			if slices.Equal(other.CPUs, g.CPUs) {
				there++
				if j < i {
					place++
				}
			}
		}
		var err error
		if beside, err = r.choose(beside, allowed, place, there); err != nil {
			return nil, fmt.Errorf("GPU %d (%s): %w", g.Index, g.PCI, err)
		}
		of[i] = numbers(beside)
	}
	return of, nil
}

// choose takes CPUs for the GPU at a place among those there that have the CPUs beside.
func (r Rule) choose(beside, allowed []CPU, place, there int) ([]CPU, error) {
	switch r {
	case Node:
		return beside, nil
	case Socket:
		return slices.DeleteFunc(slices.Clone(allowed), func(c CPU) bool {
			return !slices.ContainsFunc(beside, func(b CPU) bool { return b.Socket == c.Socket })
		}), nil
	case Exclusive:
		cores := grouped(beside, func(c CPU) [2]int { return [2]int{c.Socket, c.Core} })
		if len(cores) < there {
			return nil, fmt.Errorf("%d GPUs beside %d cores that this process may use", there, len(cores))
		}
		share, more := len(cores)/there, len(cores)%there // the first few have one more
		lo := place*share + min(place, more)
		if place < more {
			share++
		}
		return slices.Concat(cores[lo : lo+share]...), nil
	case CoreComplex:
		complexes := grouped(beside, func(c CPU) int { return c.Cache })
		slices.SortStableFunc(complexes, func(a, b []CPU) int { return len(b) - len(a) })
		return complexes[place%len(complexes)], nil
	}
	panic(fmt.Sprintf("topo: rule %q", string(r)))
}

// grouped puts CPUs with the same key together, in the order of their first numbers.
func grouped[K comparable](cpus []CPU, key func(CPU) K) [][]CPU {
	var groups [][]CPU
	at := map[K]int{}
	for _, c := range slices.SortedFunc(slices.Values(cpus), func(a, b CPU) int { return a.Number - b.Number }) {
		i, ok := at[key(c)]
		if !ok {
			i = len(groups)
			at[key(c)] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], c)
	}
	return groups
}

// Shares gives each of n ranks CPUs of its own, whatever GPUs there are. Shares differ by one
// CPU at most, and the CPUs of a core or a socket stay together as far as that allows.
func Shares(allowed []CPU, n int) ([][]int, error) {
	if n > len(allowed) {
		return nil, fmt.Errorf("%d ranks on the %d CPUs that this process may use", n, len(allowed))
	}
	all := slices.SortedFunc(slices.Values(allowed), func(a, b CPU) int {
		return cmp.Or(a.Socket-b.Socket, a.Core-b.Core, a.Number-b.Number)
	})
	of := make([][]int, n)
	for r := range of {
		of[r] = numbers(all[r*len(all)/n : (r+1)*len(all)/n])
	}
	return of, nil
}

// numbers of CPUs, ascending.
func numbers(cpus []CPU) []int {
	var n []int
	for _, c := range cpus {
		n = append(n, c.Number)
	}
	slices.Sort(n)
	return n
}
