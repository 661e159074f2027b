// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"os"
	"strings"
	"testing"

	"octet/fp8"
)

// TestTheDocumentOfFloat8HasEveryRecipe as fp8 prints it.
func TestTheDocumentOfFloat8HasEveryRecipe(t *testing.T) {
	text, err := os.ReadFile("../../docs/float8.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fp8.RecipeNames() {
		configs, err := Configs(name)
		if err != nil {
			t.Fatal(err)
		}
		recipe, err := configs[0].Recipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, section, ok := strings.Cut(string(text), "\n`"+string(name)+"`"); !ok || !strings.Contains(strings.SplitN(section, "\n```\n", 3)[1], strings.TrimSpace(recipe.Table())) {
			t.Errorf("docs/float8.md has no section of %s with the table\n%s", name, recipe.Table())
		}
	}
}
