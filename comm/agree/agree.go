// SPDX-License-Identifier: Apache-2.0

// Package agree compares, when ranks have connected, what each of them was asked
// to do. Ranks that were asked for different things would otherwise train
// together without a word, or wait for one another in different collectives.
//
// A rank says what it was asked for as named values; those of Job must be equal
// on all ranks, those of Host among the ranks of one host, such as paths. Every
// rank gets the same answer, however the ranks were started:
//
//	err := agree.Check(dev, world, agree.Claim{
//		Host: "node7", GroupRank: 1,
//		Job:    map[string]string{"optimizer.lr": "0.003", "training.steps": "300"},
//		OnHost: map[string]string{"training.dataset_path": "/data/tokens"},
//	})
//	// the ranks were not asked for the same:
//	//	optimizer.lr: 0.001 on rank 0 (node3), but 0.003 on rank 8 (node7); 7 more differ from rank 0
package agree

import (
	"encoding/json"
	"fmt"
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Claim is what one rank was asked for.
type Claim struct {
	Rank      int
	Host      string            // name of its host, for messages
	GroupRank int               // number of its host, as torchrun counts
	Job       map[string]string // equal on all ranks that name them
	OnHost    map[string]string // equal on all ranks of a host that name them
}

// Check compares the claims of all ranks of world, which all call it. An error
// names every value in which ranks differ; it is the same on all ranks. Errors of
// the collectives are world's.
func Check(dev device.Device, world comm.Comm, c Claim) error {
	c.Rank = world.Rank()
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	texts, err := Exchange(dev, world, string(text))
	if err != nil {
		return fmt.Errorf("comparing what the ranks were asked for: %w", err)
	}
	claims := make([]Claim, len(texts))
	for rank, text := range texts {
		if err := json.Unmarshal([]byte(text), &claims[rank]); err != nil {
			return fmt.Errorf("what rank %d says it was asked for: %w; do all ranks run the same octet?", rank, err)
		}
	}
	return Compare(claims)
}

// Exchange gives all ranks of world, which all call it, the texts of all, by rank.
func Exchange(dev device.Device, world comm.Comm, text string) ([]string, error) {
	s := dev.NewStream("agree")
	lengths, err := gather(dev, s, world, []int32{int32(len(text))})
	if err != nil {
		return nil, err
	}
	words := (int(slices.Max(lengths)) + 3) / 4
	padded := make([]int32, words)
	copy(device.Int32Bytes(padded), text)
	all, err := gather(dev, s, world, padded)
	if err != nil {
		return nil, err
	}
	texts := make([]string, world.Size())
	for rank := range texts {
		texts[rank] = string(device.Int32Bytes(all[rank*words : (rank+1)*words])[:lengths[rank]])
	}
	return texts, nil
}

// gather returns the numbers of all ranks one after the other.
func gather(dev device.Device, s device.Stream, world comm.Comm, own []int32) ([]int32, error) {
	all := make([]int32, world.Size()*len(own))
	buf, err := dev.Alloc(4 * len(all))
	if err != nil {
		return nil, err
	}
	defer dev.Free(buf)
	full := tensor.New(buf, dtype.Int32, len(all))
	mine := tensor.At(buf, 4*world.Rank()*len(own), dtype.Int32, len(own))
	s.Upload(mine, device.Int32Bytes(own))
	world.AllGather(s, comm.T(full), comm.T(mine))
	s.Download(device.Int32Bytes(all), full)
	return all, s.Sync()
}
