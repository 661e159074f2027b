// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"iter"
	"strings"
)

// Module is a piece of a model. Forward enqueues work and defers its backward.
type Module interface {
	Forward(c *Ctx, x *Var) *Var
	// Params are the module's own parameters by name, not its children's.
	Params() iter.Seq2[string, *Param]
	// Children are the slots of the modules below, by name, in the order of
	// their use; a rewrite may change what is in a slot. A name with a "+" is a
	// group of the model's parts ("norm+output") and adds nothing to the names
	// below it.
	Children() iter.Seq2[string, *Module]
}

// Decorator is a module around another one in the same slot, such as a unit of
// FSDP. It has no parameters of its own and adds nothing to names: walks go
// through it. Decorators stack in the order in which a plan applies them
// (package parallel), the last one outermost.
type Decorator interface {
	Module
	// Inner is the slot of the decorated module.
	Inner() *Module
}

// Base is the module inside all decorators.
func Base(m Module) Module {
	for {
		d, ok := m.(Decorator)
		if !ok {
			return m
		}
		m = *d.Inner()
	}
}

// Leaf is embedded by modules without children.
type Leaf struct{}

// Children yields nothing.
func (Leaf) Children() iter.Seq2[string, *Module] { return func(func(string, *Module) bool) {} }

// NoParams is embedded by modules without parameters of their own.
type NoParams struct{}

// Params yields nothing.
func (NoParams) Params() iter.Seq2[string, *Param] { return func(func(string, *Param) bool) {} }

// Slot is a child slot with its name, for Children.
type Slot struct {
	Name string
	At   *Module
}

// Slots yields the given slots.
func Slots(slots ...Slot) iter.Seq2[string, *Module] {
	return func(yield func(string, *Module) bool) {
		for _, s := range slots {
			if !yield(s.Name, s.At) {
				return
			}
		}
	}
}

// join is the path of a child, or of a parameter.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Walk calls f once for root and for every slot below it, children before
// parents, with the slot's path and what is in it, decorators included (Base has
// the module itself), and puts what f returns in the slot. The path of a group
// is its name; paths below leave it out.
func Walk(root *Module, f func(path string, m Module) (Module, error)) error {
	return walk(root, "", "", f)
}

func walk(at *Module, path, prefix string, f func(string, Module) (Module, error)) error {
	for name, child := range Base(*at).Children() {
		if err := walk(child, join(prefix, name), childPrefix(prefix, name), f); err != nil {
			return err
		}
	}
	m, err := f(path, *at)
	if err != nil {
		return err
	}
	*at = m
	return nil
}

// childPrefix is what the names below a child start with.
func childPrefix(prefix, child string) string {
	if strings.Contains(child, "+") {
		return prefix
	}
	return join(prefix, child)
}

// Parameters yields every parameter below m with its fully qualified name, in
// the order of use, each once.
func Parameters(m Module) iter.Seq2[string, *Param] {
	return func(yield func(string, *Param) bool) {
		parameters(m, "", map[*Param]bool{}, yield)
	}
}

func parameters(m Module, prefix string, seen map[*Param]bool, yield func(string, *Param) bool) bool {
	m = Base(m)
	for name, p := range m.Params() {
		if !seen[p] && !yield(join(prefix, name), p) {
			return false
		}
		seen[p] = true
	}
	for name, child := range m.Children() {
		if !parameters(*child, childPrefix(prefix, name), seen, yield) {
			return false
		}
	}
	return true
}

// AssignNames sets the Name of every parameter below root. Two that are called
// alike are a programmer's mistake: they would be drawn and loaded alike.
func AssignNames(root Module) {
	taken := map[string]bool{}
	for name, p := range Parameters(root) {
		if taken[name] {
			panic(fmt.Sprintf("nn: two parameters are called %q: give the slots that Children yields, and what Params yields, names of their own", name))
		}
		taken[name] = true
		p.Name = name
	}
}
