// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"strings"
	"testing"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
)

// TestAnIndexThatNoWriterMakesIsRefused, although its sum is right: parts that do not tile a tensor, that are not inside it or
// inside their file, shapes that cannot be, another format.
func TestAnIndexThatNoWriterMakesIsRefused(t *testing.T) {
	part := func(begin int64, lo0, lo1, hi0, hi1 int) Part {
		return Part{Box: dtensor.Box{Lo: []int{lo0, lo1}, Hi: []int{hi0, hi1}}, File: "f", Begin: begin, End: begin + int64(4*(hi0-lo0)*(hi1-lo1))}
	}
	of := func(parts ...Part) Tensor { return Tensor{Shape: []int{4, 6}, DType: safetensors.F32, Parts: parts} }
	for name, tt := range map[string]struct {
		change func(x *Index)
		t      Tensor
		want   string
	}{
		"whole":            {nil, of(part(8, 0, 0, 4, 6)), ""},
		"in four":          {nil, of(part(8, 0, 0, 2, 3), part(32, 0, 3, 2, 6), part(56, 2, 0, 4, 1), part(64, 2, 1, 4, 6)), ""},
		"a part too few":   {nil, of(part(8, 0, 0, 3, 6)), "its parts have 18 of its 24 elements"},
		"one twice":        {nil, of(part(8, 0, 0, 4, 6), part(8, 1, 1, 2, 2)), "[1:2 1:2] is there twice"},
		"twice, and a gap": {nil, of(part(8, 0, 0, 2, 6), part(8, 1, 0, 3, 6)), "[1:2 0:6] is there twice, in the parts [0:2 0:6] of f and [1:3 0:6] of f"},
		"columns twice":    {nil, of(part(8, 0, 0, 4, 4), part(8, 0, 2, 4, 4)), "[0:4 2:4] is there twice"},
		"outside":          {nil, of(part(8, 0, 0, 5, 6)), "the part [0:5 0:6] is not inside shape [4 6]"},
		"empty":            {nil, of(part(8, 0, 0, 4, 6), part(8, 2, 2, 2, 4)), "the part [2:2 2:4] is not inside shape [4 6]"},
		"of other dims":    {nil, of(Part{Box: dtensor.Whole([]int{24}), File: "f", Begin: 8, End: 104}), "the part [0:24] of shape [4 6]"},
		"in the header":    {nil, of(part(4, 0, 0, 4, 6)), "at bytes [4, 100) of f, which has its header up to 8 and ends at 104"},
		"behind the end":   {nil, of(part(12, 0, 0, 4, 6)), "at bytes [12, 108) of f"},
		"of other bytes":   {nil, of(Part{Box: dtensor.Whole([]int{4, 6}), File: "f", Begin: 8, End: 100}), "at bytes [8, 100)"},
		"in no file":       {nil, of(Part{Box: dtensor.Whole([]int{4, 6}), File: "g", Begin: 8, End: 104}), `is in "g", which is not among the files`},
		"no type":          {func(x *Index) { x.Tensors["t"] = Tensor{Shape: []int{}, DType: "F128"} }, Tensor{}, `unknown dtype "F128"`},
		"a negative size":  {func(x *Index) { x.Tensors["t"] = Tensor{Shape: []int{-1}, DType: "F32"} }, Tensor{}, "shape [-1]"},
		"beyond counting":  {func(x *Index) { x.Tensors["t"] = Tensor{Shape: []int{1 << 40, 1 << 40}, DType: "F32"} }, Tensor{}, "shape [1099511627776 1099511627776]"},
		"a path":           {func(x *Index) { x.Files["../f"] = File{Size: 9, Header: 8} }, of(part(8, 0, 0, 4, 6)), `files: "../f"`},
		"of the future":    {func(x *Index) { x.Format = 2 }, of(part(8, 0, 0, 4, 6)), "format = 2: this octet reads format 1"},
	} {
		x := &Index{Format: format, Run: Run{Model: []byte("{}")}, Files: map[string]File{"f": {Size: 104, Header: 8}}, Tensors: map[string]Tensor{"t": tt.t}}
		if tt.change != nil {
			tt.change(x)
		}
		text, err := x.encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = decode(text)
		if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := decode([]byte(`{"format":1,"more":2` + string(tail([]byte(`{"format":1,"more":2`))))); err == nil || !strings.Contains(err.Error(), `unknown field "more"`) {
		t.Errorf("a field of another octet's: %v", err)
	}
}

// FuzzIndex: no text makes decode panic, and what it takes encodes to the same.
func FuzzIndex(f *testing.F) {
	x := &Index{Format: format, Run: Run{Model: []byte("{}")}, Files: map[string]File{"f": {Size: 12, Header: 8}},
		Tensors: map[string]Tensor{"t": {Shape: []int{1}, DType: "F32", Parts: []Part{{Box: dtensor.Whole([]int{1}), File: "f", Begin: 8, End: 12}}}}}
	text, err := x.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text[:len(text)-len(tail(nil))])
	f.Fuzz(func(t *testing.T, before []byte) {
		x, err := decode(append(before, tail(before)...))
		if err != nil {
			return
		}
		again, err := x.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Errorf("%s\nis taken, and %s is not: %v", before, again, err)
		}
	})
}
