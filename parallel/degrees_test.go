// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"strings"
	"testing"

	"octet/parallel"
)

// TestDegreesMakeAMesh with the tensor axis innermost, of what there is more than one rank of; the shards take what is left.
func TestDegreesMakeAMesh(t *testing.T) {
	for _, tt := range []struct {
		degrees    parallel.Degrees
		world      int
		mesh, text string // or the error
	}{
		{parallel.Degrees{}, 1, "(fsdp=1)", ""},
		{parallel.Degrees{}, 6, "(fsdp=6)", ""},
		{parallel.Degrees{Replicate: 2}, 6, "(dp_replicate=2, fsdp=3)", "replicate 2"},
		{parallel.Degrees{Replicate: 6}, 6, "(dp_replicate=6, fsdp=1)", "replicate 6"},
		{parallel.Degrees{Tensor: 2, Shard: 3}, 6, "(fsdp=3, tp=2)", "shard 3 × tensor 2"},
		{parallel.Degrees{Replicate: 2, Tensor: 2}, 8, "(dp_replicate=2, fsdp=2, tp=2)", "replicate 2 × tensor 2"},
		{parallel.Degrees{Replicate: 2}, 3, "parallel: Degrees.Replicate 2 × Degrees.Tensor 1 do not divide 3 ranks", ""},
		{parallel.Degrees{Replicate: 4}, 2, "parallel: Degrees.Replicate 4 × Degrees.Tensor 1 do not divide 2 ranks", ""},
		{parallel.Degrees{Shard: 2, Tensor: 2}, 8, "parallel: Degrees.Replicate 1 × Degrees.Shard 2 × Degrees.Tensor 2 must be the number of ranks, 8", ""},
		{parallel.Degrees{Shard: -1}, 2, "parallel: Degrees.Replicate 1 × Degrees.Shard -1 × Degrees.Tensor 1 must be the number of ranks, 2", ""},
	} {
		mesh, err := tt.degrees.Mesh(tt.world)
		got := mesh.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.mesh) || err == nil && tt.degrees.String() != tt.text {
			t.Errorf("%+v of %d ranks: %s (%q), want %s (%q)", tt.degrees, tt.world, got, tt.degrees, tt.mesh, tt.text)
		}
	}
}
