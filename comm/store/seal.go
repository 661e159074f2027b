// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"

	"octet/internal/auth"
)

// sealed is a Store in which each value carries a tag that only members of the
// job can make.
type sealed struct {
	Store
	id auth.Identity
}

// Seal makes a Store of one that anyone may write to, as torchrun's: Get returns
// an error for a value that was not set, under that key, by a member of the job.
// Strangers can still read it, and overwrite values to stop the job.
func Seal(st Store, id auth.Identity) Store { return sealed{st, id} }

func (s sealed) Set(ctx context.Context, key string, value []byte) error {
	return s.Store.Set(ctx, key, slices.Concat(value, s.id.Tag(key, value)))
}

func (s sealed) Get(ctx context.Context, key string) ([]byte, error) {
	b, err := s.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(b) < sha256.Size {
		return nil, notSealed(key)
	}
	value, tag := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(tag, s.id.Tag(key, value)) {
		return nil, notSealed(key)
	}
	return value, nil
}

func notSealed(key string) error {
	return fmt.Errorf("store: the value of %q is not by a member of this job: a rank has another token, or somebody else writes to the store", key)
}
