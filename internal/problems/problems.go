// SPDX-License-Identifier: Apache-2.0

// Package problems tells a user all that is wrong at once.
package problems

import (
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Lines is one error of all errs that are not nil, each on a line of its own;
// nil if there is none.
func Lines(errs ...error) error {
	all := multierror.Append(nil, errs...)
	all.ErrorFormat = func(errs []error) string {
		lines := make([]string, len(errs))
		for i, err := range errs {
			lines[i] = err.Error()
		}
		return strings.Join(lines, "\n")
	}
	return all.ErrorOrNil()
}
