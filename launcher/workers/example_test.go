// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"fmt"
	"log"
	"os"
	"syscall"
	"time"

	"octet/launcher/gang"
	"octet/launcher/workers"
)

// A host runs the last of four ranks; the others are elsewhere.
func Example() {
	host, err := workers.NewHost([]string{os.Args[0]}) // a program that calls Guard when it is started so
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()
	job := workers.Job{
		Argv: []string{"sh", "-c", "echo rank $RANK of $WORLD_SIZE; exit 7"}, Environ: os.Environ(), Role: "default",
		Console: workers.NewConsole(os.Stdout, os.Stderr, nil, nil), Logs: workers.Logs{Prefix: workers.DefaultPrefix},
	}
	group, err := host.Start(job, gang.World{WorldSize: 4, FirstRank: 3, LocalWorldSize: 1, GroupRank: 3, GroupWorldSize: 4})
	if err != nil {
		log.Fatal(err)
	}
	for e := range group.Exits() { // one for each rank
		fmt.Printf("rank %d, local rank %d: exit code %d\n", e.Rank, e.LocalRank, e.ExitCode())
		if e.ExitCode() != 0 {
			group.Stop(syscall.SIGTERM, 5*time.Second, false)
		}
	}
	<-group.Done() // nothing of them is left
	// Unordered output:
	// [default0]:rank 3 of 4
	// rank 3, local rank 0: exit code 7
}
