// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"fmt"
	"strings"
	"testing"

	"octet/test/ranks"
)

type values = map[string]string

func TestCompareNamesWhatDiffers(t *testing.T) {
	claim := func(rank int, host string, group int, job, onHost values) Claim {
		return Claim{Rank: rank, Host: host, GroupRank: group, Job: job, OnHost: onHost}
	}
	for _, tt := range []struct {
		name   string
		claims []Claim
		want   string // empty: they agree
	}{
		{"nobody", nil, ""},
		{"one", []Claim{claim(0, "a", 0, values{"lr": "1"}, nil)}, ""},
		{"equal", []Claim{claim(0, "a", 0, values{"lr": "1"}, nil), claim(1, "b", 1, values{"lr": "1"}, nil)}, ""},
		{"one value", []Claim{claim(0, "a", 0, values{"lr": "1", "steps": "2"}, nil), claim(1, "b", 1, values{"lr": "2", "steps": "2"}, nil)},
			"the ranks were not asked for the same:\n\tlr: 1 on rank 0 (a), but 2 on rank 1 (b)"},
		{"several values, several ranks", []Claim{
			claim(0, "a", 0, values{"lr": "1", "seed": "0"}, nil), claim(1, "a", 0, values{"lr": "1", "seed": "5"}, nil),
			claim(2, "b", 1, values{"lr": "2", "seed": "0"}, nil), claim(3, "b", 1, values{"lr": "3", "seed": "0"}, nil)},
			"the ranks were not asked for the same:\n\tlr: 1 on rank 0 (a), but 2 on rank 2 (b); 1 more differ from rank 0\n\tseed: 0 on rank 0 (a), but 5 on rank 1 (a)"},
		{"not all say", []Claim{claim(0, "a", 0, nil, nil), claim(1, "b", 1, values{"data": "x"}, nil), claim(2, "c", 2, values{"data": "y"}, nil)},
			"the ranks were not asked for the same:\n\tdata: x on rank 1 (b), but y on rank 2 (c)"},
		{"paths of two hosts", []Claim{claim(0, "a", 0, nil, values{"path": "/x"}), claim(1, "a", 0, nil, values{"path": "/x"}), claim(2, "b", 1, nil, values{"path": "/y"})}, ""},
		{"paths of one host", []Claim{claim(0, "a", 0, nil, values{"path": "/x"}), claim(1, "b", 1, nil, values{"path": "/y"}), claim(2, "b", 1, nil, values{"path": "/z"})},
			"the ranks were not asked for the same:\n\tpath: /y on rank 1 (b), but /z on rank 2 (b)"},
	} {
		got := ""
		if err := Compare(tt.claims); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// each runs f on n ranks and returns their errors.
func each(t *testing.T, n int, f func(r *ranks.Rank) error) []error {
	t.Helper()
	errs := make([]error, n)
	ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
		errs[r.Rank] = f(r) // no failure of the test's rank, which would abort the others
		return nil
	})
	return errs
}

func TestAllRanksGetTheSameAnswer(t *testing.T) {
	for n := 1; n <= 3; n++ {
		for _, bad := range []int{-1, n - 1} {
			errs := each(t, n, func(r *ranks.Rank) error {
				rank := r.Rank
				// Texts of different lengths, as hosts' names are.
				c := Claim{Host: strings.Repeat("h", rank+1), Job: values{"lr": "1"}}
				if rank == bad {
					c.Job["lr"] = "2"
				}
				return Check(r.Device, r.World, c)
			})
			for rank, err := range errs {
				want := fmt.Sprintf("lr: 1 on rank 0 (h), but 2 on rank %d (%s)", bad, strings.Repeat("h", bad+1))
				if bad < 1 && err != nil || bad >= 1 && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("rank %d of %d: %v", rank, n, err)
				}
			}
		}
	}
}

func TestARankThatHasFailedEndsTheComparison(t *testing.T) {
	errs := each(t, 2, func(r *ranks.Rank) error {
		if r.Rank == 1 {
			r.World.Abort(fmt.Errorf("the disk is gone"))
			return nil
		}
		return Check(r.Device, r.World, Claim{Host: "a"})
	})
	if err := errs[0]; err == nil || !strings.Contains(err.Error(), "comparing what the ranks were asked for: ") || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("%v", err)
	}
}
