// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"octet/comm"
	"octet/device"
	"octet/device/cuda/api"
)

// Up to singleID ranks meet by one id; of more, each perID ranks have one.
const perID, singleID = 128, 512

// claim is what a rank says before NCCL connects it.
type claim struct {
	Version string // of its NCCL
	ID      []byte // ncclUniqueId, of those who make one
}

// Connect makes the communicator of all ranks of control, which all call it; it
// implements comm.Control, and closing it closes control. dev makes a
// device.NativeStream. An error names the ranks that have not come.
func Connect(dev device.Device, control comm.ControlGroup, o Options) (comm.Comm, error) {
	j := &job{dev: dev, control: control, opts: o, stop: make(chan struct{})}
	world := newComm(j, control, nil)
	if control.Size() > 1 {
		control.Answer(j.answer)
		if err := j.open(world); err != nil {
			control.Abort(err)
			err = errors.Join(err, world.destroy())
			return nil, fmt.Errorf("nccl: rank %d of %d: %w", control.Rank(), control.Size(), err)
		}
		j.ended.Go(j.watch)
	}
	return world, nil
}

// open finds NCCL and connects all ranks through it.
func (j *job) open(world *Comm) error {
	for _, v := range j.opts.Variables() {
		if os.Getenv(v.Name) == "" {
			if err := os.Setenv(v.Name, v.Value); err != nil {
				return err
			}
		}
	}
	stream, ok := j.dev.NewStream("nccl").(device.NativeStream)
	if !ok {
		return fmt.Errorf("device %s has no queue that NCCL could use", j.dev.Name())
	}
	j.stream = stream
	var err error
	if j.lib, err = api.OpenNCCL(api.System(), nil); err != nil {
		return err
	}
	ids, err := j.ids()
	if err != nil {
		return err
	}
	return world.join(ids)
}

// ids are NCCL's, one or one for each so many ranks, from the ranks that make them.
func (j *job) ids() (ids []byte, err error) {
	c, rank := j.control, j.control.Rank()
	mine := claim{Version: j.lib.VersionText()}
	several := c.Size() > singleID && j.lib.Has("ncclCommInitRankScalable")
	if rank == 0 || several && rank%perID == 0 {
		mine.ID = make([]byte, idBytes)
		if r := uniqueID(j.lib, mine.ID); r != api.NCCLSuccess {
			return nil, j.failure("ncclGetUniqueId", r)
		}
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	all, err := c.Exchange("NCCL's bootstrap", text)
	if err != nil {
		return nil, err
	}
	for q, text := range all {
		var its claim
		if err := json.Unmarshal(text, &its); err != nil {
			return nil, fmt.Errorf("what rank %d says of its NCCL: %w", c.World(q), err)
		}
		if its.Version != mine.Version {
			return nil, fmt.Errorf("rank %d has NCCL %s, rank %d %s: all need the same", c.World(q), its.Version, c.World(rank), mine.Version)
		}
		ids = append(ids, its.ID...)
	}
	return ids, nil
}

// failure is a result of NCCL's as an error.
func (j *job) failure(call string, r api.NCCLResult) error {
	text := fmt.Sprintf("NCCL: %s: %s (%d)", call, j.lib.GetErrorString(r), int(r))
	if last := j.lib.GetLastError(0); last != "" {
		text += ": " + last
	}
	return errors.New(text)
}
