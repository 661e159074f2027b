// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint/safetensors"
)

// TestVerifyNamesAllThatIsWrong: it reads every byte once, and goes on after the first that is not as it was.
func TestVerifyNamesAllThatIsWrong(t *testing.T) {
	dir := save(t, t.TempDir(), 2, 1, false)
	verify := func() (read int64, err error) {
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = c.Verify(func(n int) { read += int64(n) })
		if err == nil && read != c.Index.Bytes() {
			t.Errorf("%d of %d bytes were read", read, c.Index.Bytes())
		}
		return read, err
	}
	if _, err := verify(); err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var want []string
	for _, tt := range []struct{ name, of string }{{"large", fileName(0)}, {"odd", fileName(0)}, {"vector", fileName(1)}} {
		i := slices.IndexFunc(c.Index.Tensors[tt.name].Parts, func(p Part) bool { return p.File == tt.of })
		part := c.Index.Tensors[tt.name].Parts[i]
		f, err := os.OpenFile(filepath.Join(dir, tt.of), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0xAA}, part.Begin+1); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		want = append(want, "the part "+part.Box.String()+" of "+tt.name+", have the crc32c", tt.of+" has the SHA-256 ")
	}
	_, err = verify()
	for _, text := range want {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v\nwant %s", err, text)
		}
	}
	if err != nil && strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("want five problems, got\n%v", err)
	}
}

// TestDiffSaysWhatDiffersAndByHowMuch.
func TestDiffSaysWhatDiffersAndByHowMuch(t *testing.T) {
	open := func(tensors ...safetensors.Tensor) Source {
		path := filepath.Join(t.TempDir(), "w.safetensors")
		if err := safetensors.Write(path, nil, tensors); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSource(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	floats := func(name string, as safetensors.DType, values ...float32) safetensors.Tensor {
		raw := make([]byte, len(values)*as.Size())
		if err := safetensors.EncodeFloat32(raw, as, values); err != nil {
			t.Fatal(err)
		}
		return safetensors.Tensor{Name: name, DType: as, Shape: []int{len(values)}, Data: raw}
	}
	many := make([]float32, 3<<20) // in more than one piece
	more := slices.Clone(many)
	many[0], more[0], more[len(more)-1] = 3, 3, 4
	one := open(
		floats("same", safetensors.F32, 1, 2), floats("type", safetensors.F32, 1.5, 2), floats("values", safetensors.F32, 3, 4, 0), floats("many", safetensors.F32, many...),
		floats("shape", safetensors.F32, 1), floats("first", safetensors.F32, 1), safetensors.Tensor{Name: "ids", DType: safetensors.I32, Shape: []int{2}, Data: []byte{1, 0, 0, 0, 2, 0, 0, 0}},
		floats("kind", safetensors.F32, 1, 2))
	other := open(
		floats("same", safetensors.F32, 1, 2), floats("type", safetensors.BF16, 1.5, 2), floats("values", safetensors.F32, 3, 4.5, 0), floats("many", safetensors.F32, more...),
		floats("shape", safetensors.F32, 1, 2), floats("second", safetensors.F32, 1), safetensors.Tensor{Name: "ids", DType: safetensors.I32, Shape: []int{2}, Data: []byte{1, 0, 0, 0, 3, 0, 0, 0}},
		safetensors.Tensor{Name: "kind", DType: safetensors.I32, Shape: []int{2}, Data: make([]byte, 8)})
	all, err := Diff(one, other, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range all {
		got = append(got, d.String())
	}
	want := []string{
		"first: only the first has it", "ids: 1 values differ", "kind: type F32, and I32", "many: 1 values differ, by 4 at most, 1.3 of the norm",
		"second: only the second has it", "shape: shape [1], and [2]", "values: 1 values differ, by 0.5 at most, 0.1 of the norm",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if all, err := Diff(one, one, func(int) {}); err != nil || len(all) != 0 {
		t.Errorf("a source differs from itself: %v, %v", all, err)
	}
}
