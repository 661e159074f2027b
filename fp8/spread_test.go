// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"testing"

	"octet/comm"
	"octet/comm/null"
	"octet/fp8"
	"octet/nn"
	"octet/parallel"
)

// agreers are the Casters of Linears under a configuration, which share grad_output over the groups given.
func agreers(t *testing.T, cfg fp8.Float8LinearConfig, over ...comm.Comm) (all []nn.Agreer) {
	t.Helper()
	for _, g := range over {
		var root nn.Module = nn.NewLinear(16, 32, nn.LinearOptions{})
		if err := (&parallel.Plan{Float8: &parallel.Float8{Config: cfg}}).Convert(&root); err != nil {
			t.Fatal(err)
		}
		caster := root.(*nn.Linear).Caster
		if g != nil {
			caster.(nn.Spreader).Spread(g, nn.GradOut)
		}
		all = append(all, caster.(nn.Agreer))
	}
	return all
}

// TestWhoAgreesOnGradientsTogether: those whose scales are of whole tensors, dynamic, and of the same ranks.
func TestWhoAgreesOnGradientsTogether(t *testing.T) {
	pair, four := null.New(0, 2), null.New(0, 4)
	recipe := func(name fp8.RecipeName) fp8.Float8LinearConfig {
		cfg, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	whole := agreers(t, recipe(fp8.RecipeTensorwise), pair, pair, four, nil)
	rows := agreers(t, recipe(fp8.RecipeRowwise), pair)[0]
	later := agreers(t, recipe(fp8.RecipeDelayed), pair)[0]
	for _, tt := range []struct {
		name string
		a, b nn.Agreer
		want bool
	}{
		{"the same ranks", whole[0], whole[1], true},
		{"itself", whole[0], whole[0], true},
		{"other ranks", whole[0], whole[2], false},
		{"one that shares with nobody", whole[0], whole[3], false},
		{"two that share with nobody", whole[3], whole[3], false},
		{"scales of rows", whole[0], rows, false},
		{"scales of rows alone", rows, rows, false},
		{"scales that are known before", later, whole[0], false},
	} {
		if got := tt.a.Agrees(tt.b); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if whole[0].Agrees(nn.HighPrecision{}) {
		t.Error("with a Linear that is not in float8")
	}
}
