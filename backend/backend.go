// SPDX-License-Identifier: Apache-2.0

// Package backend is the one place that chooses a device and the communicator
// between ranks; all else takes device.Device and comm.Comm. A rank that is a
// process opens both for its place in the job:
//
//	place, err := launcher.FromEnv(os.Getenv)
//	rank, err := backend.Open(ctx, place, backend.Options{Timeout: time.Minute})
//	defer rank.Close()
//	s := rank.Device.NewStream("main")
//	rank.World.AllReduce(s, comm.T(x), comm.Sum)
//
// Run runs ranks that are goroutines, Local opens them for longer, OpenDevice opens a
// device alone.
package backend

import (
	"context"
	"errors"
	"time"

	"octet/comm"
	"octet/comm/host"
	"octet/comm/local"
	"octet/launcher"
)

// Options of a rank.
type Options struct {
	// Device is one of Devices; empty is "cpu".
	Device string
	// Threads is how many threads of the host compute; 0 is one. A device with
	// processors of its own ignores it.
	Threads int
	// ISA forces a CPU's instruction set; other devices ignore it.
	ISA string
	// Float8TN makes a CPU read float8 operands in one layout only, as GPUs do;
	// other devices ignore it.
	Float8TN bool
	// GPU is which of a host's a device "cuda" is; Open and Local have each rank take
	// that of its number on the host.
	GPU int
	// Timeout is how long ranks wait for one another, at first and, until it is
	// changed, later; 0 is five minutes.
	Timeout time.Duration
	// HostID: processes of equal HostID meet in shared memory, others over TCP. Empty
	// means find out.
	HostID string
}

// Rank is what the main function of one rank is given: a value, never a global.
type Rank struct {
	launcher.Place
	Device *Device
	World  comm.Comm // of all ranks; it implements comm.Control

	disconnect func() error
}

// Open meets the other ranks of the job and opens this one's device. All ranks
// call it.
func Open(ctx context.Context, place launcher.Place, o Options) (*Rank, error) {
	o.GPU = place.LocalRank
	dev, err := OpenDevice(o)
	if err != nil {
		return nil, err
	}
	world, disconnect, err := connect(ctx, place, o)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &Rank{Place: place, Device: dev, World: world, disconnect: disconnect}, nil
}

// Local opens n ranks of this process, each with a device of its own.
func Local(n int, o Options) ([]*Rank, error) {
	var ranks []*Rank
	for i, c := range local.New(n, local.Options{Timeout: o.Timeout}) {
		o.GPU = i
		dev, err := OpenDevice(o)
		if err != nil {
			for _, r := range ranks {
				err = errors.Join(err, r.Close())
			}
			return nil, err
		}
		ranks = append(ranks, &Rank{
			Place:  launcher.Place{Rank: i, WorldSize: n, LocalRank: i, LocalWorldSize: n, GroupWorldSize: 1, Source: "local"},
			Device: dev, World: c, disconnect: c.(comm.Control).Close,
		})
	}
	return ranks, nil
}

// Close waits for the device's work, then leaves the job and closes the device:
// communicators go before the device whose memory they use. A rank that closes
// while another still waits for it, because it failed, must abort World first.
func (r *Rank) Close() error {
	return errors.Join(r.Device.Wait(), r.disconnect(), r.Device.Close())
}

// connect makes the communicator of all ranks, and the function that closes it.
func connect(ctx context.Context, place launcher.Place, o Options) (comm.Comm, func() error, error) {
	if place.WorldSize == 1 {
		c := local.New(1, local.Options{Timeout: o.Timeout})[0]
		return c, c.(comm.Control).Close, nil
	}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	store, closeStore, err := launcher.OpenStore(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	c, err := host.Connect(ctx, host.Config{
		Rank: place.Rank, World: place.WorldSize, Store: store, Timeout: o.Timeout, HostID: o.HostID, Address: place.HostAddress(), Source: place.LocalAddr,
		RunID: place.Job(), Secret: place.Secret,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeStore())
	}
	return c, func() error { return errors.Join(c.(comm.Control).Close(), closeStore()) }, nil
}
