// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"

	"octet/device"
	"octet/device/cuda/api"
	"octet/tensor"
)

// Graph is work that was captured. It implements device.Graph.
type Graph struct {
	on      *Stream
	exec    uintptr
	checks  []*Stream // that check ids in it
	foreign bool      // work of other libraries is in it
	release []func()  // gives back the memory that kernels have for themselves
}

var _ device.GraphStream = (*Stream)(nil)

// errCaptured is of what needs the host while work is written down.
var errCaptured = errors.New("the stream is captured: that would happen once, not at each launch")

// Capture writes down what f enqueues; see device.GraphStream. The driver is asked in its relaxed mode: what f still needs for
// the first time, such as memory or a list of tensors, it gets at once, on a stream beside. One goroutine at a time enqueues on the device.
func (s *Stream) Capture(f func()) (device.Graph, error) {
	s.usable()
	d := s.dev
	if d.capturing != nil {
		panic(fmt.Sprintf("cuda: a capture on stream %s within one on stream %s", s.name, d.capturing.on.name))
	}
	d.mu.Lock()
	streams := d.streams
	d.mu.Unlock()
	for _, t := range streams {
		t.readFault() // what is checked from here on, the graph has checked
	}
	before := errorsOf(streams)
	if before[s] != nil {
		return nil, before[s]
	}
	if r := d.cuda.StreamBeginCapture(s.handle, api.CU_STREAM_CAPTURE_MODE_RELAXED); r != api.CUDA_SUCCESS {
		return nil, d.failure("cuStreamBeginCapture "+s.name, r)
	}
	g := &Graph{on: s}
	d.capturing = g
	var err error
	ended := func() (graph uintptr) { // and what f has left is as it was
		r := d.cuda.StreamEndCapture(s.handle, &graph)
		d.capturing = nil
		for _, t := range streams {
			if t.checked {
				g.checks, t.checked = append(g.checks, t), false
			}
		}
		if err = restore(streams, before); err == nil && r != api.CUDA_SUCCESS {
			err = d.failure("cuStreamEndCapture "+s.name, r)
		}
		return graph
	}
	panicked := true
	defer func() {
		if panicked {
			d.destroy(ended())
		}
	}()
	f()
	panicked = false
	graph := ended()
	if err == nil {
		if r := d.cuda.GraphInstantiateWithFlags(&g.exec, graph, 0); r != api.CUDA_SUCCESS {
			err = d.failure("cuGraphInstantiateWithFlags", r)
		}
	}
	d.destroy(graph)
	if err != nil {
		return nil, fmt.Errorf("cuda: capture on stream %s: %w", s.name, err)
	}
	for _, t := range streams {
		g.release = append(g.release, t.reserve())
	}
	d.mu.Lock()
	d.graphs[g] = struct{}{}
	d.mu.Unlock()
	return g, nil
}

func (d *Device) destroy(graph uintptr) {
	if graph != 0 {
		d.cuda.GraphDestroy(graph)
	}
}

// errorsOf are the streams that have an error.
func errorsOf(streams []*Stream) map[*Stream]error {
	have := map[*Stream]error{}
	for _, s := range streams {
		s.mu.Lock()
		if s.err != nil {
			have[s] = s.err
		}
		s.mu.Unlock()
	}
	return have
}

// restore has the streams have the errors that they had, and returns the first other one.
func restore(streams []*Stream, before map[*Stream]error) (first error) {
	for _, s := range streams {
		s.mu.Lock()
		if first == nil && !errors.Is(s.err, before[s]) {
			first = s.err
		}
		s.err = before[s]
		s.mu.Unlock()
	}
	return first
}

// Launch enqueues the work; see device.Graph.
func (g *Graph) Launch() {
	s := g.on
	s.usable()
	s.check(s.dev.cuda.GraphLaunch(g.exec, s.handle), func() string { return "cuGraphLaunch" })
	for _, t := range g.checks {
		t.checked = true
	}
	if g.foreign {
		s.marked()
	}
}

// Close ends the graph; see device.Graph. Where the device was closed it has.
func (g *Graph) Close() error {
	d := g.on.dev
	d.mu.Lock()
	_, held := d.graphs[g]
	delete(d.graphs, g)
	d.mu.Unlock()
	if !held {
		return nil
	}
	for _, release := range g.release {
		release()
	}
	if r := d.cuda.GraphExecDestroy(g.exec); r != api.CUDA_SUCCESS {
		return d.failure("cuGraphExecDestroy", r)
	}
	return nil
}

// lasting reports whether work is written down.
func (s *Stream) lasting() bool { return s.dev.capturing != nil }

// uncaptured is an error of the stream while work is written down, and reports whether it is.
func (s *Stream) uncaptured(what func() string) bool {
	if !s.lasting() {
		return false
	}
	s.fail(fmt.Errorf("%s on stream %s: %w", what(), s.name, errCaptured))
	return true
}

// constant uploads what stays as it is: while work is written down on a stream beside, for which the host waits.
func (s *Stream) constant(dst *tensor.Tensor, src []byte) {
	d := s.dev
	if !s.lasting() {
		s.upload(dst, src)
		return
	}
	if d.aside == nil {
		d.aside = d.newStream("aside")
	}
	a := d.aside
	a.upload(dst, src)
	if r := d.cuda.StreamSynchronize(a.handle); r != api.CUDA_SUCCESS {
		s.fail(d.failure("cuStreamSynchronize "+a.name, r))
	}
}
