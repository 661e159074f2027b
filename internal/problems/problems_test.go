// SPDX-License-Identifier: Apache-2.0

package problems

import (
	"errors"
	"io"
	"testing"
)

func TestEachProblemHasALine(t *testing.T) {
	if err := Lines(nil, Lines(), nil); err != nil {
		t.Errorf("no problem is the error %v", err)
	}
	err := Lines(nil, errors.New("a"), Lines(errors.New("b"), nil, io.EOF))
	if err == nil || err.Error() != "a\nb\nEOF" || !errors.Is(err, io.EOF) {
		t.Errorf("error %q, want three lines, and to find each cause", err)
	}
}
