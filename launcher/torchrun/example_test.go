// SPDX-License-Identifier: Apache-2.0

package torchrun_test

import (
	"fmt"
	"log"
	"strings"

	"octet/launcher/torchrun"
)

// The second of two hosts, as it would be started under torchrun.
func Example() {
	line := "--nnodes 2 --node_rank 1 --master-addr 10.0.0.1 --nproc 8 hostname --short"
	flags, err := torchrun.Parse(strings.Fields(line), []string{"PET_MAX_RESTARTS=3", "OCTET_JOB_TOKEN=known to both hosts"})
	if err != nil {
		log.Fatal(err)
	}
	opts, err := flags.Options(func(text string) { fmt.Println(text) })
	if err != nil {
		log.Fatal(err)
	}
	if opts.Job.Argv, err = flags.Command(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("host %d of %d runs %d ranks of %q\n", opts.NodeRank, opts.Nodes, opts.LocalWorldSize, opts.Job.Argv)
	fmt.Printf("they meet at %s:%d and may start again %d times\n", opts.Addr, opts.Port, opts.MaxRestarts)
	// Output:
	// host 1 of 2 runs 8 ranks of ["hostname" "--short"]
	// they meet at 10.0.0.1:29500 and may start again 3 times
}
