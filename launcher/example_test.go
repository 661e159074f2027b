// SPDX-License-Identifier: Apache-2.0

package launcher_test

import (
	"context"
	"fmt"
	"log"

	"octet/launcher"
)

// A rank finds its place and meets the others; it leaves the reason of its failure.
func Example() {
	environ := map[string]string{"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
	place, err := launcher.FromEnv(func(name string) string { return environ[name] }) // else os.Getenv
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	store, closeStore, err := launcher.OpenStore(ctx, place)
	if err != nil {
		log.Fatal(err)
	}
	defer closeStore()
	if err := store.Set(ctx, fmt.Sprint(place.Rank), []byte("is here")); err != nil {
		_ = launcher.WriteErrorFile(err)
		log.Fatal(err)
	}
	for rank := range place.WorldSize {
		says, err := store.Get(ctx, fmt.Sprint(rank)) // waits for it
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("rank %d %s\n", rank, says)
	}
	// Output: rank 0 is here
}

// Slurm's variables do as well as torchrun's.
func ExampleFromEnv() {
	environ := map[string]string{
		"SLURM_JOB_ID": "1234", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1",
		"SLURM_NODEID": "1", "SLURM_NTASKS_PER_NODE": "4", "SLURM_STEP_NODELIST": "gpu[007-008]",
	}
	p, err := launcher.FromEnv(func(name string) string { return environ[name] })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("rank %d of %d, local rank %d of %d, host %d of %d\n", p.Rank, p.WorldSize, p.LocalRank, p.LocalWorldSize, p.GroupRank, p.GroupWorldSize)
	fmt.Println("rank 0 serves the store at", p.Endpoint())
	// Output:
	// rank 5 of 8, local rank 1 of 4, host 1 of 2
	// rank 0 serves the store at gpu007:28254
}
