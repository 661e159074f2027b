// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// chain is work of two streams, with a list, scratch memory, an embedding and its gradient: what of kernels keeps memory
// from one launch to the next.
type chain struct {
	d            *Device
	main, beside *Stream
	pool         *device.Pool
	ids          *tensor.Tensor
	table, grad  *tensor.Tensor
	x, y, norm   *tensor.Tensor
}

const chainTokens, chainWidth = 70, 12

func newChain(d *Device) *chain {
	c := &chain{d: d, main: d.newStream("compute"), beside: d.newStream("beside"), pool: device.NewPool(d)}
	c.ids = c.pool.New(dtype.Int32, chainTokens)
	c.table, c.grad = c.pool.New(dtype.Float32, 40, chainWidth), c.pool.New(dtype.Float32, 40, chainWidth)
	c.x, c.y = c.pool.New(dtype.Float32, chainTokens, chainWidth), c.pool.New(dtype.Float32, chainTokens, chainWidth)
	c.norm = c.pool.New(dtype.Float32, 1)
	table := make([]float32, 40*chainWidth)
	for i := range table {
		table[i] = float32(i%17) / 8
	}
	c.main.Upload(c.table, device.Float32Bytes(table))
	return c
}

// give uploads the ids of a step.
func (c *chain) give(step int) {
	ids := make([]int32, chainTokens)
	for i := range ids {
		ids[i] = int32((i*7 + step*3) % 40)
	}
	c.main.Upload(c.ids, device.Int32Bytes(ids))
}

// run looks the rows up, doubles them on the stream beside, in memory that is free again behind, and takes a gradient and a norm.
func (c *chain) run() {
	c.main.Embedding(c.x, c.table, c.ids, 0, 40)
	c.beside.Wait(c.main.Record())
	own := c.pool.New(dtype.Float32, chainTokens, chainWidth)
	c.beside.Add(own, c.x, c.x)
	c.beside.Copy(c.y, own)
	c.main.Wait(c.beside.Record())
	c.pool.Free(own)
	c.main.EmbeddingGrad(c.grad, c.y, c.ids, 0, 40)
	c.main.SumSquares(c.norm, []*tensor.Tensor{c.grad, c.y})
}

// results are the gradient and the norm.
func (c *chain) results(t *testing.T) []float32 {
	t.Helper()
	got := make([]float32, c.grad.Numel()+1)
	c.main.Download(device.Float32Bytes(got[:1]), c.norm)
	c.main.Download(device.Float32Bytes(got[1:]), c.grad)
	if err := c.main.Sync(); err != nil {
		t.Fatal(err)
	}
	return got
}

// other uses the same kernels and pool on larger tensors, as an evaluation between steps does.
func (c *chain) other() {
	c.main.SumSquares(c.norm, []*tensor.Tensor{c.table, c.y, c.x, c.grad})
	x := c.pool.New(dtype.Float32, chainTokens, chainWidth)
	c.main.Zero(x)
	dtable, ids := c.pool.New(dtype.Float32, 40, chainWidth), c.pool.New(dtype.Int32, 4*chainTokens)
	c.main.Zero(ids)
	dy := c.pool.New(dtype.Float32, 4*chainTokens, chainWidth)
	c.main.Zero(dy)
	c.main.EmbeddingGrad(dtable, dy, ids, 0, 40)
}

func (c *chain) capture(t *testing.T) *Graph {
	t.Helper()
	g, err := c.main.Capture(c.run)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.main.Sync() })
	return g.(*Graph)
}

// compare has launches give the bits of the work itself, for the ids of each step, whatever else runs between them. warm is how often the
// work runs before it is captured.
func (c *chain) compare(t *testing.T, warm int) {
	t.Helper()
	var want [][]float32
	reference := newChain(c.d)
	for step := range 4 {
		reference.give(step)
		reference.run()
		want = append(want, reference.results(t))
	}
	for range warm {
		c.give(9)
		c.run()
	}
	g := c.capture(t)
	release := c.pool.Reserve()
	defer release()
	for step := range want {
		c.give(step)
		g.Launch()
		if got := c.results(t); !slices.Equal(got, want[step]) {
			t.Errorf("step %d: a launch has norm %v, the work itself %v", step, got[0], want[step][0])
		}
		c.other()
	}
	if err := c.main.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// TestAGraphDoesAsItsWork: in any order of streams, captured at once or after some runs.
func TestAGraphDoesAsItsWork(t *testing.T) {
	for _, mode := range []string{"late", "lazy", "random"} {
		for warm := range 2 {
			t.Run(fmt.Sprint(mode, warm), func(t *testing.T) {
				c := simulate(t, "SIM_MODE", mode, "SIM_SEED", fmt.Sprint(warm))
				newChain(openSimulated(t, Options{})).compare(t, warm)
				if n := c.Count("graph launches"); n != 4 {
					t.Errorf("%d launches of a graph, want 4", n)
				}
			})
		}
	}
}

// TestHardwareGraphsDoAsTheirWork is that on a GPU.
func TestHardwareGraphsDoAsTheirWork(t *testing.T) { newChain(hardware(t)).compare(t, 1) }

// TestALaunchIsOneCall: whatever is in the graph.
func TestALaunchIsOneCall(t *testing.T) {
	counts := simulate(t)
	c := newChain(openSimulated(t, Options{}))
	c.give(0)
	g := c.capture(t)
	before, steps := counts.Count("launches"), counts.Count("graph steps")
	g.Launch()
	if err := c.main.Sync(); err != nil {
		t.Fatal(err)
	}
	if launches, steps := counts.Count("launches")-before, counts.Count("graph steps")-steps; launches != 0 || steps < 6 {
		t.Errorf("a launch of the graph launches %d kernels and runs %d steps, want none and all", launches, steps)
	}
}

// TestAGraphsFaultIsTold: when the host waits for the launch that met it, and once.
func TestAGraphsFaultIsTold(t *testing.T) {
	simulate(t)
	c := newChain(openSimulated(t, Options{}))
	c.give(0)
	g := c.capture(t)
	for range 2 {
		ids := make([]int32, chainTokens)
		ids[5] = 40
		c.main.Upload(c.ids, device.Int32Bytes(ids))
		g.Launch()
		if err := c.main.Sync(); err == nil || !strings.Contains(err.Error(), "id 40") {
			t.Errorf("an id out of range: %v", err)
		}
		_ = c.beside.Sync() // it is the error of all that have waited
		c.give(0)
		g.Launch()
		if err := c.main.Sync(); err != nil {
			t.Errorf("after that: %v", err)
		}
	}
}

// TestWhatCannotBeCaptured: the error says why, and all goes on as if nothing had been asked.
func TestWhatCannotBeCaptured(t *testing.T) {
	for _, tt := range []struct {
		name, fault string
		f           func(c *chain)
		want        string
	}{
		{"an upload", "", func(c *chain) { c.give(1) }, "cuda: capture on stream compute: upload of int32[70] on stream compute: the stream is captured: that would happen once, not at each launch"},
		{"a download", "", func(c *chain) { c.main.Download(make([]byte, 4), c.norm) }, "download of float32[1] on stream compute: the stream is captured"},
		{"a wait of the host", "", func(c *chain) { _ = c.main.Sync() }, "wait of the host on stream compute: the stream is captured"},
		{"a time", "", func(c *chain) { c.main.Stamp() }, "time on stream compute: the stream is captured"},
		{"an upload beside", "", func(c *chain) {
			c.beside.Wait(c.main.Record())
			c.beside.Upload(c.norm, make([]byte, 4))
			c.main.Wait(c.beside.Record())
		},
			"upload of float32[1] on stream beside"},
		{"an event's wait of the host", "", func(c *chain) { _ = c.main.Record().Sync() }, "cuEventSynchronize on stream compute: CUDA_ERROR_CAPTURED_EVENT (907)"},
		{"a stream that is not joined", "", func(c *chain) { c.beside.Wait(c.main.Record()) }, "cuStreamEndCapture compute: CUDA_ERROR_STREAM_CAPTURE_UNJOINED (904)"},
		{"no graph", "GraphInstantiateWithFlags@0:oom", func(c *chain) {}, "cuGraphInstantiateWithFlags: CUDA_ERROR_OUT_OF_MEMORY (2)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, "SIM_FAULT", tt.fault)
			c := newChain(openSimulated(t, Options{}))
			if g, err := c.main.Capture(func() { c.run(); tt.f(c) }); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("graph %v, error %v\nwant %s", g, err, tt.want)
			}
			c.compare(t, 1)
		})
	}
	t.Run("an event of before", func(t *testing.T) {
		simulate(t)
		c := newChain(openSimulated(t, Options{}))
		before := c.beside.Record()
		if _, err := c.main.Capture(func() { c.main.Wait(before) }); err == nil || !strings.Contains(err.Error(), "cuda: wait for stream beside on stream compute: CUDA_ERROR_STREAM_CAPTURE_ISOLATION (905)") {
			t.Errorf("error %v", err)
		}
		c.compare(t, 0)
	})
	t.Run("a panic", func(t *testing.T) {
		simulate(t)
		c := newChain(openSimulated(t, Options{}))
		func() {
			defer func() {
				if r := recover(); r != "shapes" {
					t.Errorf("recovered %v", r)
				}
			}()
			_, _ = c.main.Capture(func() { c.beside.Wait(c.main.Record()); panic("shapes") })
		}()
		c.compare(t, 0)
	})
}

// TestAStreamsErrorStaysWhereACaptureFails: what it had before is not the capture's.
func TestAStreamsErrorStaysWhereACaptureFails(t *testing.T) {
	simulate(t)
	c := newChain(openSimulated(t, Options{}))
	c.beside.fail(errCaptured) // any
	if _, err := c.main.Capture(func() { c.main.Zero(c.norm) }); err != nil {
		t.Errorf("another stream's error keeps this one from being captured: %v", err)
	}
	if err := c.beside.Sync(); !errors.Is(err, errCaptured) {
		t.Errorf("the stream beside has lost its error: %v", err)
	}
	c.main.fail(errCaptured)
	if _, err := c.main.Capture(func() { t.Error("a stream with an error is captured") }); !errors.Is(err, errCaptured) {
		t.Errorf("error %v", err)
	}
	if err := c.main.Sync(); !errors.Is(err, errCaptured) {
		t.Errorf("the stream has lost its error: %v", err)
	}
}
