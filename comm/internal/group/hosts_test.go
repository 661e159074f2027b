// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"testing"
)

// unfinished is a link that cannot finish.
type unfinished struct {
	Link
	err error
}

func (u unfinished) Finish(uint32) error { return u.err }

// A call between hosts ends when the groups that it was done in have finished, too.
func TestACallEndsInAllItsGroups(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name                string
		whole, inner, outer error
		want                error
	}{
		{"all finish", nil, nil, nil, nil},
		{"not the whole", broken, nil, nil, broken},
		{"not within the host", nil, broken, nil, broken},
		{"not between hosts", nil, nil, broken, broken},
	} {
		g := &Group{link: unfinished{err: tt.whole}}
		g.hosts = &hosts{inner: &Group{link: unfinished{err: tt.inner}}, outer: &Group{link: unfinished{err: tt.outer}}}
		if err := g.finish(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
