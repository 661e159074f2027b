// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"octet/comm/record"
	"octet/config"
	"octet/metrics/chart"
	"octet/models/llama/plan"
)

// drawLayout is `octet trace --layout`.
func drawLayout(path string, ranks int, keys []string) error {
	to, err := pictureAt("layout", path)
	if err != nil {
		return err
	}
	cfg, err := config.Load(keys)
	if err != nil {
		return err
	}
	run, err := plan.Resolve(cfg, ranks)
	if err != nil {
		return err
	}
	block, err := run.Block()
	if err != nil {
		return err
	}
	return to.write(spread(run, block))
}

// spread is the picture of a block: its ranks as a table whose lines are neighbours along the innermost axis.
func spread(run *plan.Run, b plan.Block) chart.Spread {
	axes := b.Mesh.Axes()
	last := axes[len(axes)-1]
	s := chart.Spread{
		Title:   fmt.Sprintf("%s of %s over %v", b.Name, run.Config.Model.Flavor, b.Mesh),
		Columns: chart.Axis{Name: last.Name + " →", Size: last.Size}, Rows: chart.Axis{Size: len(b.Mesh.Ranks()) / last.Size},
	}
	for _, a := range axes[:len(axes)-1] {
		if a.Size > 1 {
			s.Rows.Name += a.Name + " ↓ "
		}
	}
	for _, p := range b.Params {
		shape := p.Shape()
		if len(shape) == 1 {
			shape = append(shape, 1)
		}
		name := strings.TrimSuffix(p.Name, ".weight")
		cut := chart.Cut{Name: name[strings.LastIndexAny(name, "._")+1:], Rows: shape[0], Columns: shape[1]}
		for _, part := range p.Parts() {
			lo, size := append(part.Lo, 0), append(part.Shape(), 1) // a vector is a column
			cut.Parts = append(cut.Parts, chart.Part{Row: lo[0], Column: lo[1], Rows: size[0], Columns: size[1], Ranks: part.Ranks})
		}
		s.Tensors = append(s.Tensors, cut)
	}
	for _, pass := range []struct {
		name  string
		calls []record.Call
	}{{"forward, each rank sends", b.Forward}, {"backward", b.Backward}} {
		s.Lists = append(s.Lists, chart.List{Title: pass.name, Lines: plan.Lines(values(pass.calls))})
	}
	return s
}

// values are the calls that send more than the few words by which ranks agree on a scale.
func values(calls []record.Call) (all []record.Call) {
	for _, c := range calls {
		if c.Bytes() > 64 {
			all = append(all, c)
		}
	}
	return all
}
