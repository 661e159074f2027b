// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"octet/dtype"
	"octet/fsdp"
	"octet/nn"
	"octet/parallel"
	"octet/test/ranks"
)

// TestWhichModulesAreRecomputed: of a model of two layers as torchtitan counts them, the
// n-th, the 2n-th and so on, each inside its unit of FSDP.
func TestWhichModulesAreRecomputed(t *testing.T) {
	for _, tt := range []struct {
		recompute parallel.Recompute
		want      []string
	}{
		{parallel.Recompute{Modules: []string{"layers.*"}}, []string{"layers.0", "layers.1"}},
		{parallel.Recompute{Modules: []string{"layers.*"}, Every: 1}, []string{"layers.0", "layers.1"}},
		{parallel.Recompute{Modules: []string{"layers.*"}, Every: 2}, []string{"layers.1"}},
		{parallel.Recompute{Modules: []string{"layers.*.attention", "norm+output"}}, []string{"layers.0.attention", "layers.1.attention", "norm+output"}},
		{parallel.Recompute{Modules: []string{"layers.*.*"}, Every: 3}, []string{"layers.0.attention", "layers.1.ffn_norm"}},
	} {
		root := model()
		p := parallel.Plan{Recompute: &tt.recompute, Units: []string{"layers.*", "norm+output"}, FSDP: fsdp.Options{Param: dtype.Float32}}
		if err := p.Convert(&root); err != nil {
			t.Fatal(err)
		}
		r := ranks.Open(t, 1, ranks.Options{})[0]
		m, err := p.Shard(root, r.World, r.Device)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		root = m.Root()
		_ = nn.Walk(&root, func(path string, m nn.Module) (nn.Module, error) {
			var around []string // from the outside
			for d, ok := m.(nn.Decorator); ok; d, ok = m.(nn.Decorator) {
				around, m = append(around, fmt.Sprintf("%T", d)), *d.Inner()
			}
			if at := slices.Index(around, "*nn.recomputed"); at >= 0 {
				got = append(got, path)
				if at != len(around)-1 {
					t.Errorf("%s is decorated by %q, from the outside: want recomputation innermost", path, around)
				}
			}
			return m, nil
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %q, want %q", &tt.recompute, got, tt.want)
		}
	}
}

func TestRecomputationOfNothingIsAnError(t *testing.T) {
	for _, tt := range []struct {
		recompute parallel.Recompute
		want      string
	}{
		{parallel.Recompute{Modules: []string{"blocks.*", "layers.*"}}, `the plan's Recompute.Modules "blocks.*" matches no module`},
		{parallel.Recompute{Modules: []string{"layers.*"}, Every: 3}, "Recompute.Every = 3 selects none of 2 modules; use at most 2"},
	} {
		m := model()
		if err := (parallel.Plan{Recompute: &tt.recompute}).Convert(&m); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

func TestThePlanSaysWhatIsRecomputed(t *testing.T) {
	for _, tt := range []struct {
		recompute parallel.Recompute
		want      string
	}{
		{parallel.Recompute{Modules: []string{"layers.*"}}, `ac      every one of ["layers.*"]: forward runs again in backward`},
		{parallel.Recompute{Modules: []string{"layers.*"}, Every: 2}, `ac      one in 2 of ["layers.*"]: forward runs again in backward`},
		{parallel.Recompute{Modules: []string{"layers.*"}, Keep: nn.KeepCostly},
			`ac      every one of ["layers.*"]: forward but attention and every second linear layer runs again in backward`},
	} {
		if got := (parallel.Plan{Recompute: &tt.recompute}).String(); !strings.HasPrefix(got, tt.want+"\nfsdp ") {
			t.Errorf("plan\n%swant it to start with\n%s", got, tt.want)
		}
	}
}
