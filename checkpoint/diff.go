// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
)

// Difference is a tensor in which two sources differ.
type Difference struct {
	Name string
	// What differs, where it is not the values: one has no such tensor, or in another shape or type.
	What string
	// Of the values: how many differ, by how much at most, and together, relative to the norm of the first's.
	Values        int
	Max, Relative float64
	floats        bool
}

// String is such as "norm.weight: 3 values differ, by 1.2e-07 at most, 3.1e-09 of the norm".
func (d Difference) String() string {
	if d.What != "" {
		return d.Name + ": " + d.What
	}
	if !d.floats {
		return fmt.Sprintf("%s: %d values differ", d.Name, d.Values)
	}
	return fmt.Sprintf("%s: %d values differ, by %.2g at most, %.2g of the norm", d.Name, d.Values, d.Max, d.Relative)
}

// Diff compares all tensors of two sources by name. Values of other types than floats are compared by their bytes. progress is called
// with the bytes that were read of the first.
func Diff(a, b Source, progress func(bytes int)) ([]Difference, error) {
	var all []Difference
	names := slices.Concat(a.Names(), b.Names())
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		kindA, shapeA, inA := a.Lookup(name)
		kindB, shapeB, inB := b.Lookup(name)
		what := ""
		switch {
		case !inA:
			what = "only the second has it"
		case !inB:
			what = "only the first has it"
		case !slices.Equal(shapeA, shapeB):
			what = fmt.Sprintf("shape %v, and %v", shapeA, shapeB)
		case kindA != kindB && !(isFloat(kindA) && isFloat(kindB)):
			what = fmt.Sprintf("type %s, and %s", kindA, kindB)
		}
		if what != "" {
			all = append(all, Difference{Name: name, What: what})
			continue
		}
		d, err := diffValues(a, b, name, progress)
		if err != nil {
			return all, err
		}
		if d.Values > 0 {
			all = append(all, d)
		}
	}
	return all, nil
}

func isFloat(t safetensors.DType) bool {
	return safetensors.DecodeFloat32(nil, t, nil) == nil
}

// diffValues compares a tensor some rows at a time.
func diffValues(a, b Source, name string, progress func(bytes int)) (Difference, error) {
	kindA, shape, _ := a.Lookup(name)
	d := Difference{Name: name, floats: isFloat(kindA)}
	kindB, _, _ := b.Lookup(name)
	var off, norm float64
	for _, box := range rowsOf(shape, kindA.Size()) {
		rawA, rawB := make([]byte, box.Numel()*kindA.Size()), make([]byte, box.Numel()*kindB.Size())
		if err := a.Read(name, box, rawA); err != nil {
			return d, err
		}
		if err := b.Read(name, box, rawB); err != nil {
			return d, err
		}
		progress(len(rawA))
		if !d.floats {
			for i := 0; i < len(rawA); i += kindA.Size() {
				if !bytes.Equal(rawA[i:i+kindA.Size()], rawB[i:i+kindA.Size()]) {
					d.Values++
				}
			}
			continue
		}
		x, y := make([]float32, box.Numel()), make([]float32, box.Numel())
		if err := safetensors.DecodeFloat32(x, kindA, rawA); err != nil {
			return d, err
		}
		if err := safetensors.DecodeFloat32(y, kindB, rawB); err != nil {
			return d, err
		}
		for i, v := range x {
			norm += float64(v) * float64(v)
			if v == y[i] || v != v && y[i] != y[i] { // equal, or both NaN
				continue
			}
			d.Values++
			diff := math.Abs(float64(v) - float64(y[i]))
			d.Max = max(d.Max, diff)
			off += diff * diff
		}
	}
	d.Relative = math.Sqrt(off / norm)
	return d, nil
}

// rowsOf are boxes of rows that tile a tensor, of about partBytes each.
func rowsOf(shape []int, size int) []dtensor.Box {
	whole := dtensor.Whole(shape)
	if len(shape) == 0 {
		return []dtensor.Box{whole}
	}
	var all []dtensor.Box
	step := max(1, partBytes/max(1, size*whole.Numel()/max(1, shape[0])))
	for lo := 0; lo < shape[0]; lo += step {
		all = append(all, whole.Rows(lo, min(lo+step, shape[0])))
	}
	return all
}
