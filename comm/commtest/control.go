// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/comm"
)

// RunControl is the suite of control groups; open makes n connected ones, in the
// order of their ranks, which it closes.
func RunControl(t *testing.T, sizes []int, open func(t *testing.T, n int) []comm.ControlGroup) {
	for _, tt := range []struct {
		name string
		from int // ranks
		test func(t *testing.T, groups []comm.ControlGroup)
	}{
		{"exchange", 1, exchange}, {"subgroups", 1, subgroups}, {"answers", 1, answers},
		{"a missing rank", 2, missing}, {"abort", 2, controlAbort},
	} {
		for _, n := range sizes {
			if n >= tt.from {
				t.Run(fmt.Sprintf("%s, %d ranks", tt.name, n), func(t *testing.T) {
					groups := open(t, n)
					tt.test(t, groups)
					for r, g := range groups {
						if err := g.Close(); err != nil {
							t.Errorf("closing rank %d: %v", r, err)
						}
					}
				})
			}
		}
	}
}

// allRanks runs f on every rank and returns the errors by rank.
func allRanks(groups []comm.ControlGroup, f func(g comm.ControlGroup) error) []error {
	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for r, g := range groups {
		wg.Go(func() { errs[r] = f(g) })
	}
	wg.Wait()
	return errs
}

func succeed(t *testing.T, groups []comm.ControlGroup, f func(g comm.ControlGroup) error) {
	t.Helper()
	for r, err := range allRanks(groups, f) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// exchanged is an error unless all ranks get what each says.
func exchanged(g comm.ControlGroup, round int) error {
	say := func(q int) []byte { return fmt.Appendf(nil, "%s: rank %d in round %d", g.Name(), g.World(q), round) }
	all, err := g.Exchange("a test", say(g.Rank()))
	if err != nil {
		return err
	}
	for q := range g.Size() {
		if len(all) != g.Size() || !bytes.Equal(all[q], say(q)) {
			return fmt.Errorf("round %d of %s: got %q, want %q of rank %d", round, g.Name(), all, say(q), q)
		}
	}
	return nil
}

func exchange(t *testing.T, groups []comm.ControlGroup) {
	succeed(t, groups, func(g comm.ControlGroup) error {
		for round := range 5 {
			if err := exchanged(g, round); err != nil {
				return err
			}
		}
		return nil
	})
}

// subgroups divides the ranks by parity, in the reverse of their order, without rank 0.
func subgroups(t *testing.T, groups []comm.ControlGroup) {
	succeed(t, groups, func(g comm.ControlGroup) error {
		color := g.Rank() % 2
		if g.Rank() == 0 {
			color = -1
		}
		sub, err := g.Subgroup(color, -g.Rank())
		if err != nil || color < 0 {
			if sub != nil {
				return fmt.Errorf("a negative color gave %s", sub.Name())
			}
			return err
		}
		if want := fmt.Sprintf("world/0.%d", color); sub.Name() != want || sub.World(sub.Rank()) != g.Rank() {
			return fmt.Errorf("rank %d is rank %d of %s, whose world rank is %d; want %s", g.Rank(), sub.Rank(), sub.Name(), sub.World(sub.Rank()), want)
		}
		for q := 1; q < sub.Size(); q++ {
			if sub.World(q) >= sub.World(q-1) {
				return fmt.Errorf("%s has rank %d before rank %d", sub.Name(), sub.World(q-1), sub.World(q))
			}
		}
		for round := range 2 {
			if err := exchanged(sub, round); err != nil {
				return err
			}
		}
		return nil
	})
}

// answers: any rank may ask at any time, and gets what is so now.
func answers(t *testing.T, groups []comm.ControlGroup) {
	for round := range 3 {
		for r, g := range groups {
			g.Answer(func() []byte { return fmt.Appendf(nil, "%d:%d", r, round) })
		}
		succeed(t, groups, func(g comm.ControlGroup) error {
			for q, a := range g.Ask(time.Minute) {
				if want := fmt.Sprintf("%d:%d", q, round); string(a) != want {
					return fmt.Errorf("rank %d answers %q, want %q", q, a, want)
				}
			}
			return nil
		})
	}
}

// missing: the last rank does not come to an exchange.
func missing(t *testing.T, groups []comm.ControlGroup) {
	last := len(groups) - 1
	want := fmt.Sprintf(`bootstrap of group "world": rank %d has not arrived after `, last)
	for r, err := range allRanks(groups, func(g comm.ControlGroup) error {
		g.SetTimeout(500 * time.Millisecond)
		if g.Rank() == last {
			<-g.Done()
			return g.Cause()
		}
		_, err := g.Exchange("bootstrap", nil)
		return err
	}) {
		mentions(t, r, err, want)
	}
}

// controlAbort: what one rank gives as the cause ends the waits of all.
func controlAbort(t *testing.T, groups []comm.ControlGroup) {
	last := len(groups) - 1
	for r, err := range allRanks(groups, func(g comm.ControlGroup) error {
		if g.Rank() == last {
			g.Abort(errLoss)
			g.Abort(errors.New("a later cause"))
		} else if _, err := g.Exchange("bootstrap", nil); err == nil || !strings.Contains(err.Error(), errLoss.Error()) {
			return fmt.Errorf("the exchange ended with %w", err)
		}
		<-g.Done()
		return g.Cause()
	}) {
		mentions(t, r, err, fmt.Sprintf("aborted by rank %d: %v", last, errLoss))
		var aborted *comm.AbortError
		if !errors.As(err, &aborted) || aborted.Rank != last {
			t.Errorf("rank %d: %v is no AbortError of rank %d", r, err, last)
		}
	}
}
