// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"octet/comm"
	"octet/device"
	"octet/device/cuda/api"
	"octet/dtype"
	"octet/tensor"
)

// job is what the communicators of one rank have in common.
type job struct {
	dev     device.Device
	control comm.ControlGroup   // of all ranks
	lib     *api.NCCL           // nil in a job of one rank
	stream  device.NativeStream // for what belongs to no other
	opts    Options
	record  recorder

	mu    sync.Mutex
	comms []*Comm // that NCCL has made, parents first
	over  bool    // an abort has taken them

	aborted sync.Once
	stop    chan struct{} // closed by Close
	ended   sync.WaitGroup
}

// Comm is a comm.Comm over NCCL. One goroutine makes the calls of a rank.
type Comm struct {
	comm.ControlGroup
	job    *job
	parent *Comm
	id     string // the group's in the job
	kids   []*Comm
	splits int

	mu     sync.Mutex // of a call
	made   bool       // by NCCL: groups of one rank are not
	handle handle
	word   *tensor.Tensor // int32, of barriers
	seq    uint64
	issue  func(queue uintptr) error // c.enqueue, bound once
	sig    comm.Call                 // of the call that issue makes
	list   list
	one    [1]*tensor.Tensor // the list of a broadcast or a barrier
}

var (
	_ comm.Comm    = (*Comm)(nil)
	_ comm.Control = (*Comm)(nil)
)

func newComm(j *job, control comm.ControlGroup, parent *Comm) *Comm {
	c := &Comm{ControlGroup: control, job: j, parent: parent, id: control.Name()}
	c.issue = c.enqueue
	return c
}

// join has NCCL make the communicator: of all ranks, by NCCL's ids, or of its parent's.
func (c *Comm) join(ids []byte) error {
	buf, err := c.job.dev.Alloc(4) // freed by destroy
	if err != nil {
		return err
	}
	c.word = tensor.New(buf, dtype.Int32, 1)
	c.job.stream.Zero(c.word)
	c.handle, c.made = newHandle(), true
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parent != nil {
		return c.parent.divide(c.handle, c.World(0), c.Rank(), c.begun)
	}
	return c.job.call(func() error {
		if err := c.job.check("ncclCommInitRankConfig", c.handle.init(c.job.lib, c.Size(), c.Rank(), ids)); err != nil {
			return err
		}
		return c.begun()
	})
}

// begun enters a communicator that NCCL makes, so that an abort finds it, and waits
// until it is made.
func (c *Comm) begun() error {
	c.job.mu.Lock()
	over := c.job.over
	if !over {
		c.job.comms = append(c.job.comms, c)
	}
	c.job.mu.Unlock()
	if over { // the process is about to end: NCCL is left alone
		return c.Cause()
	}
	return c.settle()
}

// divide takes this rank's part in NCCL's split, where all ranks of c meet, and calls
// then when h is set.
func (c *Comm) divide(h handle, color, key int, then func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.job.call(func() error {
		if err := c.job.check("ncclCommSplit", h.split(c.job.lib, c.handle.comm(), color, key)); err != nil {
			return err
		}
		if err := c.settle(); err != nil {
			return err
		}
		return then()
	})
}

// call has NCCL do what belongs to no stream. Who calls it holds the locks of the
// communicators that are used, for which an abort waits.
func (j *job) call(f func() error) error {
	j.stream.Native("nccl", func(uintptr) error {
		if err := j.control.Cause(); err != nil {
			return err
		}
		return f()
	})
	return j.stream.Sync()
}

// check is the error of a call that cannot even go on.
func (j *job) check(call string, r api.NCCLResult) error {
	if r == api.NCCLSuccess || r == api.NCCLInProgress {
		return nil
	}
	return j.failure(call, r)
}

// firstPoll and longestPoll bound the time between two looks at what is in progress.
const firstPoll, longestPoll = 50 * time.Microsecond, 500 * time.Microsecond

// settle waits until the communicator is not in progress, up to the job's timeout.
func (c *Comm) settle() error {
	deadline := time.Now().Add(c.Timeout())
	for pause := firstPoll; ; pause = min(2*pause, longestPoll) {
		var state api.NCCLResult
		if r := c.job.lib.CommGetAsyncError(c.handle.comm(), &state); r != api.NCCLSuccess {
			return c.job.failure("ncclCommGetAsyncError", r)
		}
		switch state {
		case api.NCCLSuccess:
			return nil
		case api.NCCLInProgress:
		default:
			return c.job.failure("an operation that went on", state)
		}
		if err := c.Cause(); err != nil {
			return err
		}
		if !time.Now().Before(deadline) {
			return c.stuck()
		}
		time.Sleep(pause)
	}
}

// stuck is the error of NCCL that takes too long, with the ranks that do not run.
func (c *Comm) stuck() error {
	text := fmt.Sprintf("NCCL is still at work after %v", c.Timeout())
	var silent []int
	for q, a := range c.Ask(askPatience) {
		if a == nil {
			silent = append(silent, c.World(q))
		}
	}
	if len(silent) == 0 {
		return errors.New(text)
	}
	return comm.Missing(silent, "not answered: "+text)
}

// AllGather implements comm.Comm.
func (c *Comm) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	c.do(s, comm.AllGather, comm.Sum, 0, dst, src)
}

// ReduceScatter implements comm.Comm.
func (c *Comm) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	c.do(s, comm.ReduceScatter, op, 0, dst, src)
}

// AllReduce implements comm.Comm.
func (c *Comm) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	c.do(s, comm.AllReduce, op, 0, ts, ts)
}

// Broadcast implements comm.Comm.
func (c *Comm) Broadcast(s device.Stream, t *tensor.Tensor, root int) {
	c.one[0] = t
	c.do(s, comm.Broadcast, comm.Sum, root, c.one[:], c.one[:])
}

// AllToAll implements comm.Comm.
func (c *Comm) AllToAll(s device.Stream, dst, src []*tensor.Tensor) {
	c.do(s, comm.AllToAll, comm.Sum, 0, dst, src)
}

// Barrier implements comm.Comm: a maximum of a word of all ranks.
func (c *Comm) Barrier(s device.Stream) { c.do(s, comm.Barrier, comm.Max, 0, nil, nil) }

// do enqueues a call.
func (c *Comm) do(s device.Stream, k comm.Kind, op comm.Op, root int, dst, src []*tensor.Tensor) {
	sig := comm.Describe(k, op, root, c.Size(), dst, src)
	native, ok := s.(device.NativeStream)
	if !ok && c.Size() > 1 {
		panic(fmt.Sprintf("nccl: %v among %d ranks on a %T, which has no queue for NCCL", k, c.Size(), s))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	sig.Seq = c.seq
	if err := c.Cause(); err != nil && ok {
		native.Fail(fmt.Errorf("%s: %w", sig.Title(c.Name()), err))
		return
	}
	if c.Size() == 1 {
		for i := range src {
			if !comm.InPlace(dst[i], src[i], 0) {
				s.Copy(dst[i], src[i])
			}
		}
		return
	}
	c.sig = sig
	c.list.clear()
	if k == comm.Barrier {
		at := native.Address(c.word)
		c.list.add(at, at, 1, dtype.Int32)
	}
	for i := range src {
		c.list.add(native.Address(src[i]), native.Address(dst[i]), src[i].Numel(), src[i].Type)
	}
	if !c.job.record.begin(c, native, &c.sig, &c.list) {
		native.Fail(fmt.Errorf("%s: %w", sig.Title(c.Name()), c.Cause()))
		return
	}
	native.Native("comm", c.issue)
	c.job.record.enqueued(native)
}

// enqueue gives NCCL the call in c.sig, and returns when it is in the queue: an event
// recorded earlier would be too early.
func (c *Comm) enqueue(queue uintptr) error {
	call, r := c.handle.enqueue(c.job.lib, queue, &c.sig, c.Size(), &c.list)
	var err error
	switch r {
	case api.NCCLSuccess:
		return nil
	case api.NCCLInProgress:
		if err = c.settle(); err == nil {
			return nil
		}
	default:
		err = c.job.failure(call, r)
	}
	return c.job.fail(fmt.Errorf("%s: %w", c.sig.Title(c.Name()), err))
}

// fail ends the job with an error of this rank, unless it has ended, and returns what
// is to be said of it.
func (j *job) fail(err error) error {
	if _, ok := errors.AsType[*comm.AbortError](err); !ok {
		j.control.Abort(err)
	}
	return err
}

// Split implements comm.Comm.
func (c *Comm) Split(color, key int) (comm.Comm, error) {
	control, err := c.Subgroup(color, key) // names who does not come
	if err != nil {
		return nil, err
	}
	c.splits++
	var part *Comm
	if control != nil {
		part = newComm(c.job, control, c)
	}
	switch {
	case !c.made:
	case part != nil && part.Size() > 1:
		c.kids = append(c.kids, part)
		err = part.join(nil)
	default: // all ranks take part, those of no group and of groups of one for nothing
		h := newHandle()
		defer h.free()
		err = c.divide(h, api.NCCL_SPLIT_NOCOLOR, 0, func() error { return nil })
	}
	if err != nil {
		return nil, c.job.fail(fmt.Errorf("nccl: split #%d of group %q: %w", c.splits, c.Name(), err))
	}
	if part == nil {
		return nil, nil
	}
	return part, nil
}

// Close ends the communicator and those split from it, and with that of all ranks the
// watchdog and the control group. Streams must be idle.
func (c *Comm) Close() error {
	var errs []error
	for _, k := range slices.Backward(c.kids) {
		errs = append(errs, k.Close())
	}
	c.kids = nil
	if c.parent == nil && c.job.lib != nil {
		select {
		case <-c.job.stop:
		default:
			close(c.job.stop)
		}
		c.job.ended.Wait()
	}
	errs = append(errs, c.destroy())
	return errors.Join(append(errs, c.ControlGroup.Close())...)
}

// destroy ends NCCL's communicator, unless an abort has.
func (c *Comm) destroy() error {
	if !c.made {
		return nil
	}
	c.made = false
	defer c.handle.free()
	defer c.job.dev.Free(c.word.Buf)
	if c.Cause() != nil {
		c.job.aborted.Do(c.job.abort)
	}
	c.job.mu.Lock()
	there := slices.Contains(c.job.comms, c)
	c.job.comms = slices.DeleteFunc(c.job.comms, func(o *Comm) bool { return o == c })
	c.job.mu.Unlock()
	if !there {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.job.call(func() error {
		if err := c.job.check("ncclCommFinalize", c.job.lib.CommFinalize(c.handle.comm())); err != nil {
			return err
		}
		if err := c.settle(); err != nil {
			return err
		}
		return c.job.check("ncclCommDestroy", c.job.lib.CommDestroy(c.handle.comm()))
	})
}
