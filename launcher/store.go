// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"context"
	"errors"
	"fmt"

	"octet/comm/store"
)

// OpenStore connects this rank to the job's store and returns a function that
// releases it. Where the launcher serves none, rank 0 does, at MASTER_PORT; it
// must keep the store open until all ranks are done with it. A job of one rank
// gets a store in memory, and no port is opened.
func OpenStore(ctx context.Context, p Place) (store.Store, func() error, error) {
	if p.World == 1 {
		return store.NewMemory(), func() error { return nil }, nil
	}
	closeServer := func() error { return nil }
	if !p.AgentStore && p.Global == 0 {
		ln, err := Listen(p.MasterAddr, p.MasterPort)
		if err != nil {
			return nil, nil, fmt.Errorf("store of rank 0 (MASTER_PORT): %w", err)
		}
		closeServer = store.Serve(ln).Close
	}
	client, err := store.Dial(ctx, p.Endpoint())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("rank %d of %d: %w", p.Global, p.World, err), closeServer())
	}
	return client, func() error {
		client.Close()
		return closeServer()
	}, nil
}
