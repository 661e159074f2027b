// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"fmt"
	"strings"

	"octet/nn"
)

// ModuleFilter reports whether the module with this fully qualified name is to
// be converted.
type ModuleFilter func(m nn.Module, fqn string) bool

// FilterFQNs converts every module whose name contains none of the given
// strings.
func FilterFQNs(skip ...string) ModuleFilter {
	return func(_ nn.Module, fqn string) bool {
		for _, s := range skip {
			if s != "" && strings.Contains(fqn, s) {
				return false
			}
		}
		return true
	}
}

// AutoFilter converts the Linears that FilterFQNs does and that are large enough for
// the recipe to gain by it, by the sizes that torchao measured on an H100
// (_auto_filter_for_recipe); rowwise_with_gw_hp, for which it has none, takes those of
// rowwise, and delayed those of tensorwise.
func AutoFilter(recipe RecipeName, skip ...string) (ModuleFilter, error) {
	var gains func(k, n int) bool
	switch recipe {
	case "", RecipeTensorwise, RecipeDelayed:
		gains = func(k, n int) bool { return k > 4096 || n > 1024 }
	case RecipeRowwise, RecipeRowwiseWithGWHP:
		gains = func(k, n int) bool { return n > 2048 && k > 1024 && (n > 4096 || k > 2048) }
	default:
		_, err := ConfigFromRecipe(recipe)
		return nil, fmt.Errorf("fp8: no sizes are known from which on it gains: %w", err)
	}
	named := FilterFQNs(skip...)
	return func(m nn.Module, fqn string) bool {
		l, ok := nn.Base(m).(*nn.Linear)
		return ok && named(m, fqn) && gains(l.Weight.Shape[1], l.Weight.Shape[0])
	}, nil
}
