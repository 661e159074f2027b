// SPDX-License-Identifier: Apache-2.0

package gang_test

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"octet/launcher/gang"
)

// Two ranks start on one node; one fails, the other is stopped because of it.
func Example() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := gang.New(gang.Config{
		Nodes: 1, JoinTimeout: time.Minute, StartTimeout: time.Minute, BeatTimeout: 5 * time.Second, FailGrace: 5 * time.Second,
	}, now)
	for _, ev := range []gang.Event{
		gang.Join{Node: "a", Host: "gpu7", LocalWorldSize: 2, First: true},
		gang.Started{Node: "a"},
		gang.Exited{Node: "a", Exit: gang.Exit{Rank: 1, LocalRank: 1, PID: 43, Signal: syscall.SIGKILL, At: now}},
		gang.Exited{Node: "a", Exit: gang.Exit{Rank: 0, LocalRank: 0, PID: 42, Signal: syscall.SIGTERM, At: now, Killed: true}},
		gang.Stopped{Node: "a"},
	} {
		for _, action := range g.Step(now, ev) {
			switch a := action.(type) {
			case gang.Start:
				fmt.Printf("start %+v\n", a.Worlds["a"])
			case gang.Stop:
				fmt.Printf("stop with %v: %s\n", gang.SignalName(a.Signal), a.Cause)
			case gang.Finish:
				fmt.Printf("exit with %d\n%s\n", a.Code, strings.Join(a.Report, "\n"))
			}
		}
	}
	fmt.Println(g.State())
	// Output:
	// start {Attempt:0 WorldSize:2 FirstRank:0 LocalWorldSize:2 GroupRank:0 GroupWorldSize:1}
	// stop with SIGTERM: rank 1 on gpu7: killed by SIGKILL (exit code 137)
	// exit with 137
	// attempt 1 of 1 failed:
	//   rank 1 on gpu7 (local rank 1, pid 43): killed by SIGKILL (exit code 137)
	//   rank 0 on gpu7 (local rank 0, pid 42): stopped by octet
	// first to fail: rank 1 on gpu7: killed by SIGKILL (exit code 137)
	// Failed
}
