// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"errors"
	"fmt"

	"octet/device"
	"octet/nn"
)

// Graph has a Model's steps launch their passes (forward, backward and what is reduced) as one graph of the device,
// which costs the host one call instead of thousands. Clipping and the update stay what they are: the host knows the learning rate.
// The first steps run as ever, and make all that a step needs; then one is captured, and launched in all that follow, to
// the same bits. What was captured keeps its memory: whatever else runs between steps takes other.
//
// What cannot be captured is told once, and steps go on as without.
type Graph struct {
	Tell func(why error) // nil: nobody is told
	// Count runs the passes while they are captured; what it returns counts their collectives so many times
	// more, since a launch asks no communicator. Nil: nobody counts.
	Count func(passes func()) (more func(times int))

	ran          int // steps that were not captured, in a row
	over         bool
	microbatches int
	graph        device.Graph // nil before it was captured
	more         func(times int)
}

// stepsBefore is how many steps run first: the second takes its memory as all that follow.
const stepsBefore = 2

// Captured reports whether steps are launched.
func (g *Graph) Captured() bool { return g.graph != nil }

// run runs the passes, or launches them.
func (g *Graph) run(m *Model, microbatches int, microbatch func(c *nn.Ctx, i int)) {
	passes := func() { m.passes(microbatches, microbatch) }
	if g == nil || g.over {
		passes()
		return
	}
	if g.graph == nil && g.ran >= stepsBefore {
		if err := g.capture(m, microbatches, passes); err != nil {
			g.over = true
			if g.Tell != nil {
				g.Tell(err)
			}
		}
	}
	if g.graph == nil || g.microbatches != microbatches {
		g.ran++
		passes()
		return
	}
	m.sharded.Join(m.ctx) // the passes' other streams begin behind this one
	g.graph.Launch()
	g.more(1)
}

// capture has the device write the passes down. Their scales of weights are made within, even if they are there already:
// at a launch they are of other weights.
func (g *Graph) capture(m *Model, microbatches int, passes func()) (err error) {
	s, ok := m.ctx.Stream.(device.GraphStream)
	if !ok {
		return fmt.Errorf("%s captures no graphs", m.dev.Name())
	}
	if m.checks != nil {
		return errors.New("the checks of Plan.DetectAnomaly are named as they are enqueued")
	}
	m.sharded.Join(m.ctx)
	m.scales.Expire()
	captured := func() { g.graph, err = s.Capture(passes) }
	g.more = func(int) {}
	if g.Count != nil {
		g.more = g.Count(captured)
	} else {
		captured()
	}
	g.more(-1) // nothing has run
	if err != nil {
		g.graph = nil
		return err
	}
	g.microbatches = microbatches
	m.Reserve()
	return nil
}

// Reserve keeps the memory of the steps so far for a Graph, which ends with its device: whatever else runs takes other. A Graph does
// it itself.
func (m *Model) Reserve() {
	m.ctx.Pool.Reserve()
	m.sharded.Reserve()
}
