// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"octet/internal/auth"
	"octet/launcher/agent"
	"octet/launcher/workers"
)

// A job of two ranks on one host.
func Example() {
	host, err := workers.NewHost([]string{os.Args[0], "guard"}) // octet guard, which calls workers.Guard
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()
	result, err := agent.Run(context.Background(), agent.Options{
		RunID: "job", Secret: auth.NewSecret(), Nodes: 1, LocalWorldSize: 2, Addr: "localhost", Coordinator: agent.Always,
		JoinTimeout: time.Minute, BeatEvery: time.Second, BeatTimeout: 5 * time.Second, ShutdownTimeout: 30 * time.Second,
		Host: host, Say: func(text string) { fmt.Println(text) },
		Job: workers.Job{
			Argv: []string{"sh", "-c", "echo rank $RANK of $WORLD_SIZE"}, Environ: os.Environ(), Role: "default",
			Console: workers.NewConsole(os.Stdout, os.Stderr, nil, nil), Logs: workers.Logs{Prefix: workers.DefaultPrefix},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("exit code", result.Code)
	// Unordered output:
	// [default0]:rank 0 of 2
	// [default1]:rank 1 of 2
	// exit code 0
}
