// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"slices"
	"strings"

	"octet/fp8"
)

// Reference is the variant that trains in bf16.
const Reference = "bf16"

// variation is what may be added to the name of a recipe.
type variation struct {
	name, help string
	apply      func(c *fp8.Float8LinearConfig)
}

var variations = []variation{
	{"gather", "weights are gathered in float8", func(c *fp8.Float8LinearConfig) { c.EnableFsdpFloat8AllGather = true }},
	{"fast", "the products of backward sum with fast accumulation too", func(c *fp8.Float8LinearConfig) {
		c.GemmConfigGradInput.UseFastAccum, c.GemmConfigGradWeight.UseFastAccum = true, true
	}},
	{"slow", "no product sums with fast accumulation", func(c *fp8.Float8LinearConfig) { c.GemmConfigOutput.UseFastAccum = false }},
}

// VariantHelp says what a variant's name may be.
func VariantHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, or one of %v", Reference, fp8.RecipeNames())
	for _, v := range variations {
		fmt.Fprintf(&b, ", with +%s (%s)", v.name, v.help)
	}
	return b.String()
}

// variant is how a run of Recipes multiplies: the name of a recipe and what is added
// to it, such as "rowwise+gather"; nil is bf16.
func variant(name string) (*fp8.Float8LinearConfig, error) {
	if name == Reference {
		return nil, nil
	}
	recipe, added, _ := strings.Cut(name, "+")
	c, err := fp8.ConfigFromRecipe(fp8.RecipeName(recipe))
	if err != nil {
		return nil, err
	}
	for _, add := range strings.FieldsFunc(added, func(r rune) bool { return r == '+' }) {
		i := slices.IndexFunc(variations, func(v variation) bool { return v.name == add })
		if i < 0 {
			return nil, fmt.Errorf("%q: there is no %q to add; want %s", name, add, VariantHelp())
		}
		variations[i].apply(&c)
	}
	_, err = c.Recipe()
	return &c, err
}
