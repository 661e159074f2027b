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
	"slices"
	"sync"
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
	// OneGPU has all ranks of Local share the first: for tests on a host that has no more, over a
	// communication library that allows it.
	OneGPU bool
	// Timeout is how long ranks wait for one another, at first and, until it is
	// changed, later; 0 is five minutes.
	Timeout time.Duration
	// Dump is the folder for what a rank writes down of its collectives when one does
	// not end; empty: nothing is written.
	Dump string
	// Fatal is called when a rank can neither go on nor let go of its device: it should
	// leave the cause for the launcher and exit.
	Fatal func(cause error)
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
	shared     *shared // nil: the device is nobody else's business
}

// shared are ranks of one process that read the memory of each other's devices, so that none
// of these may be closed before all ranks are done.
type shared struct {
	mu    sync.Mutex
	ranks []*Rank // that have not closed
	done  []*Rank
}

// leave closes all devices when the last rank comes.
func (s *shared) leave(r *Rank) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranks = slices.DeleteFunc(s.ranks, func(o *Rank) bool { return o == r })
	s.done = append(s.done, r)
	if len(s.ranks) > 0 {
		return nil
	}
	var errs []error
	for _, r := range s.done {
		errs = append(errs, r.Device.Close())
	}
	return errors.Join(errs...)
}

// Open meets the other ranks of the job and opens this one's device. All ranks
// call it.
func Open(ctx context.Context, place launcher.Place, o Options) (*Rank, error) {
	o.GPU = place.LocalRank
	dev, err := OpenDevice(o)
	if err != nil {
		return nil, err
	}
	world, disconnect, err := connect(ctx, place, dev, o)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &Rank{Place: place, Device: dev, World: world, disconnect: disconnect}, nil
}

// Local opens n ranks of this process, each with a device of its own.
func Local(n int, o Options) ([]*Rank, error) {
	var ranks []*Rank
	closeAll := func(err error) error {
		for _, r := range ranks {
			err = errors.Join(err, r.Close())
		}
		return err
	}
	for i := range n {
		if !o.OneGPU {
			o.GPU = i
		}
		dev, err := OpenDevice(o)
		if err != nil {
			return nil, closeAll(err)
		}
		ranks = append(ranks, &Rank{
			Place:  launcher.Place{Rank: i, WorldSize: n, LocalRank: i, LocalWorldSize: n, GroupWorldSize: 1, Source: "local"},
			Device: dev, disconnect: func() error { return nil },
		})
	}
	if err := join(ranks, o); err != nil {
		return nil, closeAll(err)
	}
	return ranks, nil
}

// join connects ranks of this process.
func join(ranks []*Rank, o Options) error {
	k, err := find(o.Device)
	if err != nil {
		return err
	}
	opts := local.Options{Timeout: o.Timeout}
	if k.connect == nil {
		for i, c := range local.New(len(ranks), opts) {
			ranks[i].joined(c)
		}
		return nil
	}
	errs := make([]error, len(ranks))
	var all sync.WaitGroup
	together := &shared{ranks: slices.Clone(ranks)}
	for i, control := range local.Control(len(ranks), opts) {
		ranks[i].shared = together
		all.Go(func() {
			c, err := k.connect(ranks[i].Device, control, o)
			if errs[i] = err; err == nil {
				ranks[i].joined(c)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// joined gives the rank its communicator.
func (r *Rank) joined(world comm.Comm) { r.World, r.disconnect = world, world.(comm.Control).Close }

// Close waits for the device's work, then leaves the job and closes the device:
// communicators go before the device whose memory they use. A rank that closes
// while another still waits for it, because it failed, must abort World first.
func (r *Rank) Close() error {
	err := errors.Join(r.Device.Wait(), r.disconnect())
	if r.shared != nil {
		return errors.Join(err, r.shared.leave(r))
	}
	return errors.Join(err, r.Device.Close())
}

// connect makes the communicator of all ranks, and the function that closes it.
func connect(ctx context.Context, place launcher.Place, dev *Device, o Options) (comm.Comm, func() error, error) {
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
	c, err := meet(ctx, dev, o, host.Config{
		Rank: place.Rank, World: place.WorldSize, Store: store, Timeout: o.Timeout, HostID: o.HostID, Address: place.HostAddress(), Source: place.LocalAddr,
		RunID: place.Job(), Secret: place.Secret, Arena: dev.Arena,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeStore())
	}
	return c, func() error { return errors.Join(c.(comm.Control).Close(), closeStore()) }, nil
}

// meet connects this process's rank with the others: through the host or, where the device
// has a way of its own, through that.
func meet(ctx context.Context, dev *Device, o Options, cfg host.Config) (comm.Comm, error) {
	k, err := find(o.Device)
	if err != nil {
		return nil, err
	}
	if k.connect == nil {
		return host.Connect(ctx, cfg)
	}
	control, err := host.Control(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c, err := k.connect(dev, control, o)
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return c, nil
}
