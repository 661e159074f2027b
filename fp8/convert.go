// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"errors"
	"fmt"
	"strings"

	"octet/comm"
	"octet/nn"
)

// Alignment is what float8 matmuls of the hardware want of all sizes. The CPU's
// kernels take any, but a configuration proven on a laptop must run on a GPU.
const Alignment = 16

// ConvertToFloat8Training makes every nn.Linear below m that passes the filter
// compute in float8, and returns m. Weights keep their names and first values. It comes
// before sharding, and is done once to each Linear.
// All layers whose sizes do not fit are reported together, and m is unchanged; so
// it is an error if the filter leaves no layer at all.
func ConvertToFloat8Training(m nn.Module, cfg Float8LinearConfig, filter ModuleFilter) (nn.Module, error) {
	recipe, err := cfg.Recipe()
	if err != nil {
		return m, err
	}
	var linears []NamedLinear
	var errs []error
	for _, l := range Linears(m) {
		if filter(l.Linear, l.FQN) {
			linears = append(linears, l)
			errs = append(errs, l.check())
		}
	}
	if len(linears) == 0 {
		return m, errors.New("float8: every linear layer is filtered out: remove the converter, or the entries of FilterFQNs that exclude all")
	}
	if err := errors.Join(errs...); err != nil {
		return m, err
	}
	weights := &scales{}
	var sites []*site
	for _, l := range linears {
		k := &site{recipe: &recipe, fqn: l.FQN, weight: l.Linear.Weight}
		sites = append(sites, k)
		l.Linear.Caster = k
		switch {
		case !cfg.EnableFsdpFloat8AllGather || ours(k.weight.Wire): // a weight of two layers travels once
		case recipe.Cast[nn.Weight].Granularity == Axiswise:
			k.weight.Wire = &RowWire{k}
		case recipe.Cast[nn.Weight].Type == Delayed:
			k.weight.Wire = &Wire{k}
		default:
			weights.join(k)
			k.weight.Wire = &Wire{k}
		}
	}
	if cfg.RequiresSync() {
		newHistories(&recipe, sites)
	}
	return m, nil
}

// NamedLinear is a Linear and its fully qualified name.
type NamedLinear struct {
	FQN    string
	Linear *nn.Linear
}

// Linears lists the Linears below m.
func Linears(m nn.Module) []NamedLinear {
	var linears []NamedLinear
	// Nothing is replaced, so the walk cannot fail.
	_ = nn.Walk(&m, func(fqn string, m nn.Module) (nn.Module, error) {
		if l, ok := nn.Base(m).(*nn.Linear); ok {
			linears = append(linears, NamedLinear{fqn, l})
		}
		return m, nil
	})
	return linears
}

// Converted reports whether l computes in float8.
func Converted(l *nn.Linear) bool {
	_, ok := l.Caster.(*site)
	return ok
}

// ours reports whether a wire sends float8.
func ours(w comm.Wire) bool {
	switch w.(type) {
	case *Wire, *RowWire:
		return true
	}
	return false
}

// check finds what cannot be converted.
func (l NamedLinear) check() error {
	if Converted(l.Linear) {
		return fmt.Errorf("fp8: %s is converted already: a Linear is converted once", l.FQN)
	}
	if w := l.Linear.Weight.Wire; w != nil && !ours(w) {
		return fmt.Errorf("fp8: the weight of %s travels otherwise already: convert before sharding (parallel.Plan.Convert before Shard)", l.FQN)
	}
	for i, side := range []string{"out_features", "in_features"} {
		if n := l.Linear.Weight.Shape[i]; n%Alignment != 0 {
			return fmt.Errorf("%s: %s %d is not a multiple of %d (float8 matmul); add %q to FilterFQNs or change the model's sizes",
				l.FQN, side, n, Alignment, shortName(l.FQN))
		}
	}
	return nil
}

// shortName is the part of a name that all layers share: attention.wk of
// layers.3.attention.wk.
func shortName(fqn string) string {
	parts := strings.Split(fqn, ".")
	if len(parts) > 2 && parts[0] == "layers" {
		parts = parts[2:]
	}
	return strings.Join(parts, ".")
}

// Report is the table of Linears: name, shape [out, in], and how each computes. Below it
// is told what was configured and has no effect.
func Report(m nn.Module) string {
	var b strings.Builder
	idle := false
	for _, l := range Linears(m) {
		fmt.Fprintf(&b, "%-32s %-14s %v\n", l.FQN, fmt.Sprint(l.Linear.Weight.Shape), l.Linear.Caster)
		k, ok := l.Linear.Caster.(*site)
		idle = idle || ok && k.recipe.Config.ForceRecomputeFp8WeightInBwd
	}
	if idle {
		b.WriteString("ForceRecomputeFp8WeightInBwd has no effect: a cast of a weight is never kept for backward\n")
	}
	return b.String()
}
