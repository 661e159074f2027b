// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"octet/comm/store"
	"octet/internal/auth"
)

// Two ranks meet: one waits for what the other has not yet set.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	job := auth.Identity{Job: "17/0", Service: store.Service, Secret: auth.NewSecret()}
	srv := store.Serve(ln, job)
	defer srv.Close()

	dial := func() *store.Client {
		c, err := store.Dial(ctx, ln.Addr().String(), job)
		if err != nil {
			panic(err)
		}
		return c
	}
	rank0, rank1 := dial(), dial()
	defer rank0.Close()
	defer rank1.Close()
	go func() {
		if err := rank0.Set(ctx, "addr/0", []byte("10.0.0.1:4242")); err != nil {
			panic(err)
		}
	}()
	addr, err := rank1.Get(ctx, "addr/0")
	fmt.Println(string(addr), err)
	// Output: 10.0.0.1:4242 <nil>
}
