// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"strings"
	"testing"

	"octet/fp8"
	"octet/nn"
)

// TestAutoFilterSkipsWhatIsTooSmall at both sides of each bound: torchao's table.
func TestAutoFilterSkipsWhatIsTooSmall(t *testing.T) {
	for _, tt := range []struct {
		recipes []fp8.RecipeName
		k, n    int
		want    bool
	}{
		{[]fp8.RecipeName{"", fp8.RecipeTensorwise, fp8.RecipeDelayed}, 4096, 1024, false},
		{[]fp8.RecipeName{"", fp8.RecipeTensorwise, fp8.RecipeDelayed}, 4112, 16, true},
		{[]fp8.RecipeName{"", fp8.RecipeTensorwise, fp8.RecipeDelayed}, 16, 1040, true},
		{[]fp8.RecipeName{fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP}, 8192, 2048, false},
		{[]fp8.RecipeName{fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP}, 1024, 8192, false},
		{[]fp8.RecipeName{fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP}, 2048, 4096, false},
		{[]fp8.RecipeName{fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP}, 2064, 2064, true},
		{[]fp8.RecipeName{fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP}, 1040, 4112, true},
	} {
		l := nn.NewLinear(tt.k, tt.n, nn.LinearOptions{})
		for _, recipe := range tt.recipes {
			filter, err := fp8.AutoFilter(recipe, "output")
			if err != nil {
				t.Fatal(err)
			}
			if got := filter(l, "layers.0.w1"); got != tt.want {
				t.Errorf("%s: K %d, N %d: %v, want %v", recipe, tt.k, tt.n, got, tt.want)
			}
			if filter(l, "output") {
				t.Errorf("%s: output is converted in spite of its name", recipe)
			}
		}
	}
	if _, err := fp8.AutoFilter("colwise"); err == nil || !strings.Contains(err.Error(), `no recipe "colwise"`) {
		t.Errorf("error %v, want one that names the recipe", err)
	}
}
