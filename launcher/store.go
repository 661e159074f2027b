// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"context"
	"errors"
	"fmt"

	"octet/comm/store"
	"octet/internal/auth"
)

// ErrNoToken is a job of several ranks without a secret.
var ErrNoToken = errors.New(auth.TokenVar + " is not set: give all ranks the same token, by which they know each other (`openssl rand -hex 32` makes one)")

// OpenStore connects this rank to the job's store and returns a function that
// releases it. Ranks prove to the store, and it to them, that they know p.Secret.
// Where the launcher serves none, rank 0 does, at MASTER_PORT; it must keep the
// store open until all ranks are done with it. torchrun's store knows no proofs:
// there each value carries one. A job of one rank gets a store in memory, and no
// port is opened.
func OpenStore(ctx context.Context, p Place) (store.Store, func() error, error) {
	if p.WorldSize == 1 {
		return store.NewMemory(), func() error { return nil }, nil
	}
	fail := func(err error) (store.Store, func() error, error) {
		return nil, nil, fmt.Errorf("rank %d of %d: %w", p.Rank, p.WorldSize, err)
	}
	if p.Secret.IsZero() {
		return fail(ErrNoToken)
	}
	id := auth.Identity{Job: p.Job(), Service: store.Service, Secret: p.Secret}
	if p.AgentStore && p.Store == "" {
		client, err := store.DialAnyone(ctx, p.Endpoint())
		if err != nil {
			return fail(err)
		}
		return store.Seal(client, id), client.Close, nil
	}
	addr := p.Store
	closeServer := func() error { return nil }
	if addr == "" {
		addr = p.Endpoint()
		if p.Rank == 0 {
			ln, err := Listen(p.MasterAddr, p.MasterPort)
			if err != nil {
				return fail(fmt.Errorf("store (MASTER_ADDR, MASTER_PORT): %w", err))
			}
			closeServer = store.Serve(ln, id).Close
		}
	}
	client, err := store.Dial(ctx, addr, id)
	if err != nil {
		return fail(errors.Join(err, closeServer()))
	}
	return client, func() error {
		client.Close()
		return closeServer()
	}, nil
}
