// SPDX-License-Identifier: Apache-2.0

package agree_test

import (
	"fmt"

	"octet/comm/agree"
)

// What Check says on every rank when it has gathered these claims.
func ExampleCompare() {
	fmt.Println(agree.Compare([]agree.Claim{
		{Rank: 0, Host: "node3", GroupRank: 0, Job: map[string]string{"optimizer.lr": "0.001"}, OnHost: map[string]string{"data": "/data/a"}},
		{Rank: 1, Host: "node7", GroupRank: 1, Job: map[string]string{"optimizer.lr": "0.003"}, OnHost: map[string]string{"data": "/data/b"}},
	}))
	// Output:
	// the ranks were not asked for the same:
	// 	optimizer.lr: 0.001 on rank 0 (node3), but 0.003 on rank 1 (node7)
}
