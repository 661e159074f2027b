// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"octet/dtensor"
	"octet/nn"
)

// TestRanksOfOneClassHavePartsOfOneSize: a vocabulary of 257 on three ranks of tensor
// parallelism is 86, 86 and 85 rows, of which two shards have 43 each, filled up; but modules compute
// with as many as there are. The ranks of a shard are alike.
func TestRanksOfOneClassHavePartsOfOneSize(t *testing.T) {
	mesh, err := dtensor.NewMesh(12, dtensor.Axis{Name: "dp_replicate", Size: 2}, dtensor.Axis{Name: "fsdp", Size: 2}, dtensor.Axis{Name: "tp", Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	split := func(rows, cols int, p dtensor.Placement) *nn.Param {
		l := nn.NewLinear(cols, rows, nn.LinearOptions{})
		l.Weight.Split(dtensor.NewLayout(mesh, []int{rows, cols}).Place("tp", p), 0)
		return l.Weight
	}
	sharded := func(rows, cols int, p dtensor.Placement) *nn.Param {
		l := nn.NewLinear(cols, rows, nn.LinearOptions{})
		l.Weight.Place(dtensor.NewLayout(mesh, []int{rows, cols}).Place("tp", p).Place("fsdp", dtensor.Shard(0)), 0)
		return l.Weight
	}
	norm := nn.NewLinear(5, 7, nn.LinearOptions{}).Weight
	for _, tt := range []struct {
		params []*nn.Param
		want   []Class
	}{
		{[]*nn.Param{norm}, []Class{{Ranks: 12}}},
		{[]*nn.Param{norm, split(12, 9, dtensor.Shard(0))}, []Class{{Ranks: 12}}},
		{[]*nn.Param{norm, split(257, 8, dtensor.Shard(0))}, []Class{{Ranks: 8, First: 0}, {Ranks: 4, First: 2}}},
		{[]*nn.Param{split(257, 8, dtensor.Shard(0)), split(8, 7, dtensor.Shard(1))}, []Class{{Ranks: 8, First: 0}, {Ranks: 4, First: 2}}},
		{[]*nn.Param{sharded(257, 8, dtensor.Shard(0))}, []Class{{Ranks: 8, First: 0}, {Ranks: 4, First: 2}}},
		{[]*nn.Param{sharded(257, 8, dtensor.Replicate())}, []Class{{Ranks: 12}}},
		{[]*nn.Param{split(8, 4, dtensor.Shard(1))}, []Class{{Ranks: 8, First: 0}, {Ranks: 4, First: 2}}},
		{[]*nn.Param{split(8, 1, dtensor.Shard(1))}, []Class{{Ranks: 4, First: 0}, {Ranks: 8, First: 1}}},
	} {
		if diff := cmp.Diff(tt.want, classes(mesh, tt.params)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}
