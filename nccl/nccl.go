// SPDX-License-Identifier: Apache-2.0

// Package nccl connects ranks that have a GPU each through NVIDIA's NCCL. It is a
// comm.Comm on the streams of a device whose queues NCCL can enqueue on
// (device.NativeStream); comm/local and comm/host are for the CPU.
//
//	control, err := host.Control(ctx, config)      // the ranks, through the host
//	world, err := nccl.Connect(dev, control, nccl.Options{Dump: folder})
//	defer world.(comm.Control).Close()
//	world.AllReduce(stream, comm.T(grad), comm.Sum)
//
// NCCL is told never to wait on the host: what takes a peer is polled, with the job's
// deadline. What ranks agree on goes over the control group: NCCL's id, the groups that
// Split makes, who is missing when a collective does not end, and the abort that ends all.
// A watchdog follows the calls that are under way. Groups of one rank need no NCCL.
package nccl

import (
	"cmp"
	"path/filepath"
	"time"
)

// Options of a rank's communicators.
type Options struct {
	// Dump is the folder for what NCCL and the watchdog write down; empty: nothing is
	// written.
	Dump string
	// AbortPatience is how long NCCL has to end an abort; 0 is 30 seconds.
	AbortPatience time.Duration
	// Fatal is called when it has not: streams may then hang for ever, so it should leave
	// the cause where the launcher finds it and exit. A timer of C ends the process after
	// twice that time, whatever Go does.
	Fatal func(cause error)
}

// patience is AbortPatience.
func (o Options) patience() time.Duration { return cmp.Or(o.AbortPatience, 30*time.Second) }

// Variable is an environment variable that NCCL reads.
type Variable struct{ Name, Value string }

// Variables are what NCCL is told unless the user told it: its warnings into the dump
// folder, and one order of launches where a rank has several communicators.
func (o Options) Variables() []Variable {
	vars := []Variable{{"NCCL_DEBUG", "WARN"}, {"NCCL_LAUNCH_ORDER_IMPLICIT", "1"}}
	if o.Dump != "" {
		vars = append(vars, Variable{"NCCL_DEBUG_FILE", filepath.Join(o.Dump, "nccl.%h.%p")})
	}
	return vars
}
