// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const golden = "../../testdata/golden/"

// file is a safetensors file with the given header and so many bytes of data.
func file(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestReadsWhatPyTorchWrote(t *testing.T) {
	set, err := Open(golden + "llama_init.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if n := len(set.Names()); n != 21 {
		t.Errorf("%d tensors, want 21: %q", n, set.Names())
	}
	info, data, err := set.Tensor("layers.1.feed_forward.w2.weight")
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Name: "layers.1.feed_forward.w2.weight", DType: F32, Shape: []int{64, 192}, File: golden + "llama_init.safetensors"}
	if d := cmp.Diff(want, info, cmpopts.IgnoreUnexported(Info{})); d != "" {
		t.Error(d)
	}
	if len(data) != 64*192*4 {
		t.Errorf("%d bytes, want %d", len(data), 64*192*4)
	}
	// golden.py draws every matrix from N(0, 0.02).
	values := make([]float32, 64*192)
	if err := DecodeFloat32(values, info.DType, data); err != nil {
		t.Fatal(err)
	}
	var squares float64
	for _, v := range values {
		squares += float64(v) * float64(v)
	}
	if std := math.Sqrt(squares / float64(len(values))); math.Abs(std-0.02) > 0.001 {
		t.Errorf("standard deviation %v, want about 0.02", std)
	}
}

// The reference implementation's order, padding and JSON are ours too, so a file read and written again has the same bytes.
func TestWritesTheBytesOfTheReference(t *testing.T) {
	for _, name := range []string{"llama_init", "casts", "linear_tensorwise_bf16"} {
		path := golden + name + ".safetensors"
		set, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		var tensors []Tensor
		for _, n := range set.Names() {
			info, data, err := set.Tensor(n)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, Tensor{n, info.DType, info.Shape, data})
		}
		out := filepath.Join(t.TempDir(), "copy.safetensors")
		if err := Write(out, set.Metadata(), tensors); err != nil {
			t.Fatal(err)
		}
		want, _ := os.ReadFile(path)
		got, _ := os.ReadFile(out)
		if name == "linear_tensorwise_bf16" { // the reference writes metadata in the random order of its hash map
			want, got = want[8+520:], got[8+520:]
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s: the copy differs", name)
		}
	}
}

func TestRowsAreTheTensorsOwnBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.safetensors")
	data := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	err := Write(path, nil, []Tensor{
		{"a", U16, []int{3, 2}, data}, {"empty", F32, []int{0, 5}, nil}, {"scalar", U8, nil, []byte{7}}, {"no columns", F32, []int{3, 0}, nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	set, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, tt := range []struct {
		name     string
		first, n int
		want     []byte
		err      string
	}{
		{"a", 0, 3, data, ""},
		{"a", 1, 1, data[4:8], ""},
		{"a", 3, 0, nil, ""},
		{"empty", 0, 0, nil, ""},
		{"no columns", 1, 2, []byte{}, ""},
		{"a", 2, 2, nil, `tensor "a" of shape [3 2] has no rows [2, 4)`},
		{"a", -1, 1, nil, `has no rows [-1, 0)`},
		{"a", math.MaxInt, 1, nil, `has no rows`},
		{"scalar", 0, 1, nil, `tensor "scalar" of shape [] has no rows [0, 1)`},
		{"b", 0, 1, nil, `no tensor "b" among the 4 there`},
	} {
		got, err := set.Rows(tt.name, tt.first, tt.n)
		if !bytes.Equal(got, tt.want) || !matches(err, tt.err) {
			t.Errorf("rows %d+%d of %s: %v, %v; want %v, %q", tt.first, tt.n, tt.name, got, err, tt.want, tt.err)
		}
	}
}

func matches(err error, want string) bool {
	if err == nil {
		return want == ""
	}
	return want != "" && strings.Contains(err.Error(), want)
}

func TestBadFilesAreNamed(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	const huge = `{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}`
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty file", nil, "the file has 0 bytes"},
		{"no length", []byte{1, 2, 3}, "the file has 3 bytes, too few"},
		{"absurd length", append(bytes.Repeat([]byte{0xff}, 8), "{}"...), "18446744073709551615 bytes, more than the format's limit"},
		{"header cut short", file("{"+a+"}", 0)[:20], "the header has 54 bytes, the file only 12"},
		{"data cut short", file("{"+a+"}", 7), `tensor "a": bytes [0, 8) reach beyond the 7 bytes`},
		{"data too long", file("{"+a+"}", 9), "the tensors end at byte 8, the file has 9"},
		{"not an object", file(`[1]`, 0), "not a JSON object"},
		{"broken JSON", file(`{"a":`, 0), `tensor "a": EOF`},
		{"object not closed", file(`{`+a, 8), "header: "},
		{"more after it", file(`{}{}`, 0), "goes on after"},
		{"twice", file("{"+a+","+a+"}", 8), `tensor "a" is there twice`},
		{"overlap", file("{"+a+`,"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8), `tensor "b": bytes [4, 8) overlap tensor "a", which ends at 8`},
		{"gap", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), `tensor "a": bytes [4, 12) leave a gap after byte 0`},
		{"size", file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), "shape [3] of F32 needs 12 bytes, data_offsets [0, 8] hold 8"},
		{"overflow", file(huge, 8), "more bytes than can be counted"},
		{"backwards", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), "data_offsets [8, 0] are no range"},
		{"negative", file(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8), `tensor "a": json: cannot unmarshal number -2`},
		{"no dtype", file(`{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8), `tensor "a": no dtype`},
		{"no shape", file(`{"a":{"dtype":"F32","data_offsets":[0,8]}}`, 8), `tensor "a": no shape`},
		{"no offsets", file(`{"a":{"dtype":"F32","shape":[2]}}`, 8), `data_offsets has 0 numbers`},
		{"metadata", file(`{"__metadata__":{"a":1}}`, 0), "__metadata__: json: cannot unmarshal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.safetensors")
			if err := os.WriteFile(path, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			if !matches(err, tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one with %q and the path", err, tt.want)
			}
		})
	}
}

func TestFolderIsOneSet(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, tensors ...Tensor) {
		if err := Write(filepath.Join(dir, name), map[string]string{"from": name}, tensors); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); !matches(err, dir+": no *.safetensors file in the folder") {
		t.Errorf("empty folder: %v", err)
	}
	if _, err := Open(dir + "/none"); !matches(err, "no such file") {
		t.Errorf("no folder: %v", err)
	}
	write("1.safetensors", Tensor{"a", U8, []int{1}, []byte{1}})
	write("2.safetensors", Tensor{"b", U8, []int{1}, []byte{2}})
	if err := os.WriteFile(dir+"/index.json", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(set.Names(), " "); got != "a b" {
		t.Errorf("names %q, want a b", got)
	}
	if info, ok := set.Info("b"); !ok || info.File != dir+"/2.safetensors" {
		t.Errorf("b is in %q", info.File)
	}
	if got := set.Metadata()["from"]; got != "2.safetensors" {
		t.Errorf("metadata from %q, want the last file's", got)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	write("3.safetensors", Tensor{"a", U8, []int{1}, []byte{3}})
	if _, err := Open(dir); !matches(err, `3.safetensors: tensor "a" is also in `+dir+"/1.safetensors") {
		t.Errorf("the same name in two files: %v", err)
	}
	if err := os.Mkdir(dir+"/4.safetensors", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir + "/4.safetensors"); !matches(err, "no *.safetensors file") {
		t.Errorf("an empty folder with the extension: %v", err)
	}
}

func TestWriteRefusesWhatItCouldNotRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "t.safetensors")
	ok := Tensor{"a", U8, []int{1}, []byte{1}}
	for _, tt := range []struct {
		tensors []Tensor
		want    string
	}{
		{[]Tensor{ok, ok}, `tensor "a" is there twice`},
		{[]Tensor{{"a", "U9", []int{1}, []byte{1}}}, `tensor "a": unknown dtype "U9"`},
		{[]Tensor{{"a", F32, []int{1}, []byte{1}}}, "shape [1] of F32 needs 4 bytes, there are 1"},
		{[]Tensor{{"a", U8, []int{-1, -1}, []byte{1}}}, "negative size"},
		{[]Tensor{{"__metadata__", U8, []int{1}, []byte{1}}}, "the format's own"},
	} {
		if err := Write(path, nil, tt.tensors); !matches(err, tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
	if err := Write(dir+"/none/t.safetensors", nil, []Tensor{ok}); !matches(err, "no such file") {
		t.Errorf("no folder: %v", err)
	}
	if err := Write(dir, nil, []Tensor{ok}); !matches(err, dir) {
		t.Errorf("a folder in the file's place: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("failed writes left %v", left)
	}
	if left, _ := filepath.Glob(filepath.Dir(dir) + "/.*.*"); len(left) != 0 {
		t.Errorf("failed writes left %v", left)
	}
}

func TestDecodeFloat32(t *testing.T) {
	for _, tt := range []struct {
		dtype DType
		raw   []byte
		want  []float32
	}{
		{F32, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x80}, []float32{1, float32(math.Copysign(0, -1))}},
		{BF16, []byte{0x80, 0x3f, 0x80, 0xff}, []float32{1, float32(math.Inf(-1))}},
		// One, the largest, the smallest normal, the largest and the smallest subnormal, -0, -inf.
		{
			F16,
			[]byte{0x00, 0x3c, 0xff, 0x7b, 0x00, 0x04, 0xff, 0x03, 0x01, 0x80, 0x00, 0x80, 0x00, 0xfc},
			[]float32{1, 65504, 0x1p-14, 1023 * 0x1p-24, -0x1p-24, float32(math.Copysign(0, -1)), float32(math.Inf(-1))},
		},
	} {
		got := make([]float32, len(tt.want))
		if err := DecodeFloat32(got, tt.dtype, tt.raw); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if math.Float32bits(got[i]) != math.Float32bits(tt.want[i]) {
				t.Errorf("%s %d: %v, want %v", tt.dtype, i, got[i], tt.want[i])
			}
		}
	}
	nan := make([]float32, 1)
	if err := DecodeFloat32(nan, F16, []byte{1, 0x7c}); err != nil || !math.IsNaN(float64(nan[0])) {
		t.Errorf("%v, %v, want NaN", nan[0], err)
	}
	if err := DecodeFloat32(nan, I32, []byte{0, 0, 0, 0}); !matches(err, "type I32 cannot be read as float32") {
		t.Error(err)
	}
	if err := DecodeFloat32(nan, F32, []byte{0}); !matches(err, "1 elements of type F32 are 4 bytes, not 1") {
		t.Error(err)
	}
}

// Whatever the bytes, parseHeader answers with an error or with tensors that tile the data.
func FuzzParseHeader(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}`, 9))
	f.Add(file(`{"__metadata__":{"k":"v"},"e":{"dtype":"BF16","shape":[0,3],"data_offsets":[0,0]}}  `, 0))
	f.Add(file(`{"a":{"dtype":"F64","shape":[1,2305843009213693952,8],"data_offsets":[0,4611686018427387904]}}`, 8))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeader(data)
		if err != nil {
			return
		}
		at := 0
		for _, info := range h.tensors {
			n := info.DType.Size()
			for _, d := range info.Shape {
				n *= d
			}
			if info.begin != at || info.end-info.begin != n {
				t.Errorf("%+v: want %d bytes from %d", info, n, at)
			}
			at = info.end
		}
		if h.size+at != len(data) {
			t.Errorf("header and tensors cover %d of %d bytes", h.size+at, len(data))
		}
	})
}

// What is of an unknown type is there all the same, for whoever knows it; and a
// name that save_model dropped is known by the one it kept.
func TestUnknownTypesAndAliases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	text := `{"__metadata__":{"b":"a","format":"pt","c":"b"},"a":{"dtype":"C64","shape":[1,1],"data_offsets":[0,8]}}`
	if err := os.WriteFile(path, file(text, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "._a.safetensors"), []byte("macOS"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, open := range []string{path, filepath.Dir(path)} {
		set, err := Open(open)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		for _, name := range []string{"a", "b"} {
			info, raw, err := set.Tensor(name)
			if err != nil || info.Name != "a" || info.DType != "C64" || len(raw) != 8 {
				t.Errorf("%s: %+v with %d bytes, %v", name, info, len(raw), err)
			}
		}
		if _, ok := set.Info("c"); ok || len(set.Names()) != 1 {
			t.Errorf("c is a tensor, or there are others than a: %q", set.Names())
		}
	}
}

// TestEncodeFloat32RoundsToNearest: every value of a narrow type is itself, what lies
// between two goes to the nearer, and to the even one from the middle.
func TestEncodeFloat32RoundsToNearest(t *testing.T) {
	encode := func(v float32, to DType) uint16 {
		raw := make([]byte, 2)
		if err := EncodeFloat32(raw, to, []float32{v}); err != nil {
			t.Fatal(err)
		}
		return binary.LittleEndian.Uint16(raw)
	}
	decode := func(h uint16, from DType) float32 {
		v := make([]float32, 1)
		if err := DecodeFloat32(v, from, binary.LittleEndian.AppendUint16(nil, h)); err != nil {
			t.Fatal(err)
		}
		return v[0]
	}
	for _, kind := range []DType{F16, BF16} {
		infinite := encode(float32(math.Inf(1)), kind)
		for h := range infinite { // the positive finite ones
			v, next := decode(h, kind), decode(h+1, kind)
			if h+1 == infinite {
				next = v + (v - decode(h-1, kind)) // infinity stands where this would be
			}
			if math.IsInf(float64(next), 0) {
				continue // beyond float32
			}
			middle := float32((float64(v) + float64(next)) / 2)
			even := h + h&1
			for at, want := range map[float32]uint16{v: h, middle: even, math.Nextafter32(middle, 0): h, math.Nextafter32(middle, next): h + 1} {
				if at == v && want != h { // no room between
					continue
				}
				if got := encode(at, kind); got != want {
					t.Fatalf("%s: %g is %#04x, want %#04x", kind, at, got, want)
				}
				if got := encode(-at, kind); got != want|0x8000 {
					t.Fatalf("%s: %g is %#04x, want %#04x", kind, -at, got, want|0x8000)
				}
			}
		}
		if nan := decode(encode(float32(math.NaN()), kind), kind); nan == nan {
			t.Errorf("%s: NaN became %v", kind, nan)
		}
	}
	if err := EncodeFloat32(make([]byte, 4), I32, make([]float32, 1)); err == nil {
		t.Error("float32 was written as I32")
	}
}
