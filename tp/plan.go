// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"octet/comm"
	"octet/comm/grid"
	"octet/dtensor"
	"octet/internal/problems"
	"octet/nn"
	"octet/tensor"
)

// Axis is the name of the mesh's axis whose ranks share modules.
const Axis = "tp"

// Rule says how the modules are shared whose path matches: with * for any one part of it, or some of one, and [qkv] for one of
// these letters.
type Rule struct {
	Modules string
	Style   Style
}

// For is the rule that has modules computed in a style.
func For(modules string, s Style) Rule { return Rule{modules, s} }

// Plan is a table of rules, in any order. A module that none matches is computed by all ranks alike.
type Plan []Rule

// String is a line for each rule.
func (p Plan) String() string {
	width := 0
	for _, r := range p {
		width = max(width, len(r.Modules))
	}
	var b strings.Builder
	for _, r := range p {
		fmt.Fprintf(&b, "%-*s  %v\n", width, r.Modules, r.Style)
	}
	return b.String()
}

// matches reports whether the rule is for the module at a path.
func (r Rule) matches(at string) bool {
	slash := func(s string) string { return strings.ReplaceAll(s, ".", "/") } // path.Match's separator
	ok, _ := path.Match(slash(r.Modules), slash(at))
	return ok
}

// rule is the one for the module at a path, nil if there is none.
func (p Plan) rule(at string, m nn.Module) (*Rule, error) {
	var found *Rule
	for i := range p {
		switch r := &p[i]; {
		case !r.matches(at):
		case found != nil:
			return nil, fmt.Errorf("tp: two rules for %s: %q (%v) and %q (%v); leave one", at, found.Modules, found.Style, r.Modules, r.Style)
		default:
			found = r
		}
	}
	if found == nil {
		return nil, nil
	}
	if err := found.Style.check(m); err != nil {
		return nil, fmt.Errorf("tp: rule %q for %s: %w", found.Modules, at, err)
	}
	return found, nil
}

// Apply makes root's modules compute as the plan says, on this rank of a grid with the axis "tp": parameters are cut
// (nn.Param.Split), and modules decorated. It comes before the model is sharded, and has the names that nn.AssignNames gives. It
// returns the parameters whose gradients are terms on each rank of the axis, to be added up: Partial. With an overlap, which may be nil,
// collectives go beside products.
func (p Plan) Apply(root *nn.Module, g *grid.Grid, o *Overlap) (Partial, error) {
	return p.apply(root, g.Mesh, g.World.Rank(), group{g.Axis(Axis), o})
}

func (p Plan) apply(root *nn.Module, mesh dtensor.Mesh, rank int, along group) (Partial, error) {
	a := &application{group: along, mesh: mesh, rank: rank, cut: map[*nn.Param]cut{}}
	matched := map[*Rule]bool{}
	var errs []error
	_ = nn.Walk(root, func(at string, m nn.Module) (nn.Module, error) {
		r, err := p.rule(at, m)
		if err == nil && r != nil {
			matched[r] = true
			m, err = a.apply(r.Style, m)
		}
		if err != nil {
			errs = append(errs, err)
		}
		return m, nil
	})
	for i := range p {
		if !matched[&p[i]] && len(errs) == 0 {
			errs = append(errs, p[i].unmatched(*root))
		}
	}
	return a.partial, errors.Join(errs...)
}

// application is one Apply.
type application struct {
	group
	mesh    dtensor.Mesh
	rank    int
	cut     map[*nn.Param]cut
	partial Partial
	readers []*nn.Linear // whose outputs are cut, of an input that all ranks have
}

// cut is how a parameter was cut, and the shape it had.
type cut struct {
	placement dtensor.Placement
	shape     []int
}

// Partial are parameters of which each rank of the axis has all, and a term of the gradient.
type Partial []*nn.Param

// Reduce adds up their gradients, the shards that each rank has, in one all-reduce.
func (p Partial) Reduce(c *nn.Ctx, along comm.Comm) {
	var grads []*tensor.Tensor
	for _, param := range p {
		if !param.Frozen() {
			grads = append(grads, param.Grad)
		}
	}
	if len(grads) > 0 {
		along.AllReduce(c.Stream, grads, comm.Sum)
	}
}

// apply is the module in a style.
func (a *application) apply(s Style, m nn.Module) (nn.Module, error) {
	switch s.kind {
	case sequence:
		for _, p := range nn.Parameters(m) {
			a.add(p)
		}
		return m, nil
	case prepareInput:
		return &decorated{group: a.group, inner: m, in: a.entered(s.in, a.below(m))}, nil
	case prepareOutput:
		return &decorated{group: a.group, inner: m, out: a.changed(s)}, nil
	}
	switch base := nn.Base(m).(type) {
	case *nn.Linear:
		return a.linear(s, m, base)
	case *nn.Embedding:
		return a.embedding(s, m, base)
	}
	panic("tp: checked before")
}

// split cuts a parameter along the axis, and returns the shape of the whole.
func (a *application) split(p *nn.Param, to dtensor.Placement) ([]int, error) {
	if before, ok := a.cut[p]; ok {
		if before.placement != to {
			return nil, fmt.Errorf("tp: %s is cut twice, as %v and as %v: a weight of two modules needs styles that cut it alike", p.Name, before.placement, to)
		}
		return before.shape, nil
	}
	whole := p.Shape
	a.cut[p] = cut{to, whole}
	p.Split(dtensor.NewLayout(a.mesh, whole).Place(Axis, to), a.rank)
	return whole, nil
}

// add notes a parameter whose gradient is a term.
func (a *application) add(p *nn.Param) {
	if !slices.Contains(a.partial, p) {
		a.partial = append(a.partial, p)
	}
}

// unmatched is the error of a rule that matches no module, with the names that are nearest.
func (r Rule) unmatched(root nn.Module) error {
	best, least := []string(nil), 0
	_ = nn.Walk(&root, func(at string, m nn.Module) (nn.Module, error) {
		switch d := problems.Distance(r.Modules, pattern(at)); {
		case at == "" || slices.Contains(best, pattern(at)):
		case best == nil || d < least:
			best, least = []string{pattern(at)}, d
		case d == least:
			best = append(best, pattern(at))
		}
		return m, nil
	})
	return fmt.Errorf("tp: rule %q (%v) matches no module; near it are %q", r.Modules, r.Style, best)
}

// pattern is a path with * for its numbers.
func pattern(at string) string {
	parts := strings.Split(at, ".")
	for i, part := range parts {
		if strings.Trim(part, "0123456789") == "" {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, ".")
}
