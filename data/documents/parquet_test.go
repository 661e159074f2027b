// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"
)

// rowsOf are 500 rows, of which some are null and some alike.
func rowsOf() (rows []*string, texts []string) {
	for i := range 500 {
		text := "alike"
		if i%7 > 3 {
			text = fmt.Sprintf("row %d %s", i, strings.Repeat("and on ", i%5))
		}
		if i%9 == 3 {
			rows = append(rows, nil)
			continue
		}
		rows, texts = append(rows, &text), append(texts, text)
	}
	return rows, texts
}

// written is a file of rowsOf, in pages of a kilobyte.
func written(t testing.TB, codec compress.Codec, version int, e encoding.Encoding) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[struct {
		Text *string `parquet:"text,optional"`
	}](&b, parquet.PageBufferSize(1024), parquet.Compression(codec), parquet.DataPageVersion(version), parquet.DefaultEncodingFor(parquet.ByteArray, e))
	rows, _ := rowsOf()
	for _, r := range rows {
		if _, err := w.Write([]struct {
			Text *string `parquet:"text,optional"`
		}{{r}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestParquetOfEveryKind: what is held to a file before it is read refuses none that is whole.
func TestParquetOfEveryKind(t *testing.T) {
	_, want := rowsOf()
	for _, codec := range []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Zstd, &parquet.Gzip, &parquet.Brotli, &parquet.Lz4Raw} {
		for version := 1; version <= 2; version++ {
			for _, e := range []encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.DeltaLengthByteArray, &parquet.DeltaByteArray} {
				texts, left, err := all(write(t, "a.parquet", written(t, codec, version, e)), Options{Format: Parquet, Field: "text"})
				if err != nil || !slices.Equal(texts, want) || left != (Left{Empty: 500 - len(want)}) {
					t.Errorf("%s, version %d, %s: %d texts, %+v, %v", codec, version, e, len(texts), left, err)
				}
			}
		}
	}
}

// allocated is how many bytes are allocated while f runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestDamagedParquetIsRefusedBeforeItIsAllocated: what a few bytes of a small file claim is held to the file, and to itself.
func TestDamagedParquetIsRefusedBeforeItIsAllocated(t *testing.T) {
	pyarrows, err := os.ReadFile("testdata/rows.parquet")
	if err != nil {
		t.Fatal(err)
	}
	footer := func(thrift ...byte) []byte {
		file := slices.Concat([]byte("PAR1"), thrift)
		return append(binary.LittleEndian.AppendUint32(file, uint32(len(thrift))), "PAR1"...)
	}
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":                {nil, "it has 0 bytes, and an empty one 12"},
		"footer's length":        {append(pyarrows[:len(pyarrows)-5:len(pyarrows)-5], "\xf0PAR1"...), "in a file of"},
		"list":                   {footer(0x29, 0xfc, 0xff, 0xff, 0xff, 0x07, 0), "elements, where 1 bytes are left"},
		"footer's length by one": {[]byte("PAR1\x00\x02\x00\x00\x00PAR1"), "a footer of 2 bytes in a file of 13"},
		"list by one":            {footer(0x29, 0xf8, 3, 0, 0), "3 elements, where 2 bytes are left"},
		"text":                   {footer(0x68, 0xff, 0xff, 0xff, 0xff, 0x07, 0), "elements, where 1 bytes are left"},
		"map":                    {footer(0x6b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x88, 0), "elements, where 2 bytes are left"},
		"structs":                {footer(bytes.Repeat([]byte{0x1c}, 100)...), "more than 64 deep"},
		"lists":                  {footer(append([]byte{0x19}, bytes.Repeat([]byte{0x19}, 100)...)...), "more than 64 deep"},
		"type":                   {footer(0x1e, 0), "a value of type 14"},
		"footer ends early":      {footer(0x1c, 0x15), "unexpected EOF"},
	} {
		var err error
		n := allocated(func() { _, _, err = all(write(t, "a.parquet", tt.file), Options{Format: Parquet, Field: "text"}) })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if n > 64<<20 {
			t.Errorf("%s: %d bytes were allocated for a file of %d", name, n, len(tt.file))
		}
	}
}

// TestDamagedPagesAreRefused: a page is held to the file, to the rows that are left, and to what is in it.
func TestDamagedPagesAreRefused(t *testing.T) {
	type header = format.PageHeader
	const run, packed, page = "\x14\x01", "\x03\xaa", "\x02\x00\x00\x00\x14\x01" // ten ones, eight bits, the levels of ten values
	literals := "\x60" + page                                                    // what LZ4 makes of them
	v1 := func(values, unpacked int32, e format.Encoding) header {
		h := header{Type: format.DataPage, UncompressedPageSize: unpacked}
		h.DataPageHeader.V = format.DataPageHeader{NumValues: values, Encoding: e}
		return h
	}
	v2as := func(levels, unpacked int32, e format.Encoding) header {
		h := header{Type: format.DataPageV2, UncompressedPageSize: unpacked}
		h.DataPageHeaderV2.V = format.DataPageHeaderV2{NumValues: 10, DefinitionLevelsByteLength: levels, Encoding: e}
		return h
	}
	v2 := func(levels, unpacked int32) header { return v2as(levels, unpacked, format.Plain) }
	dictionary := header{Type: format.DictionaryPage, UncompressedPageSize: 6}
	deltas := func(block, parts, total string) string { return block + parts + total + "\x02" }
	for name, tt := range map[string]struct {
		header  header
		content string
		codec   format.CompressionCodec
		want    string // "" if it is whole
	}{
		"whole":                     {v1(10, 6, format.Plain), page, format.Uncompressed, ""},
		"whole, packed":             {v1(10, 6, format.Plain), literals, format.Lz4Raw, ""},
		"version 2":                 {v2(2, 2), run, format.Uncompressed, ""},
		"plain, left packed":        {v2(2, 8), run + "\x01no snappy", format.Snappy, ""},
		"a packed run":              {v2as(2, 7, format.RLEDictionary), run + "\x50\x09\xfe\x03\x00\x01", format.Lz4Raw, "a run of 255 values"},
		"levels, packed":            {v1(10, 14, format.Plain), "\x0e\x14" + page + "\x1cno snappy", format.Snappy, ""},
		"a run of levels, packed":   {v1(10, 14, format.Plain), "\x0e\x1c\x04\x00\x00\x00\xfe\xff\x03\x01", format.Snappy, "a run of 32767 values"},
		"levels' length, packed":    {v1(10, 14, format.Plain), "\x0e\x14\xff\xff\xff\xff\x14\x01", format.Snappy, "ends too early"},
		"no levels, packed":         {v1(10, 14, format.Plain), "\x0e\x08\x02\x00\x00", format.Snappy, "ends too early"},
		"rows":                      {v1(11, 6, format.Plain), page, format.Uncompressed, "11 rows"},
		"rows of a dictionary":      {func() header { h := dictionary; h.DictionaryPageHeader.V.NumValues = 1<<26 + 1; return h }(), page, format.Uncompressed, "67108865 rows"},
		"less than none":            {v1(-1, 6, format.Plain), page, format.Uncompressed, "-1 rows"},
		"unpacked":                  {v1(10, 1<<27, format.Plain), page, format.Uncompressed, "of which 134217728"},
		"unpacked to less":          {v1(10, -1, format.Plain), page, format.Uncompressed, "of which -1"},
		"levels":                    {v2(3, 2), run, format.Uncompressed, "3 bytes of levels in a page of 2"},
		"levels of less":            {v2(-1, 2), run, format.Uncompressed, "-1 bytes of levels"},
		"a run":                     {v1(10, 8, format.Plain), "\x04\x00\x00\x00\xfe\xff\x03\x01", format.Uncompressed, "a run of 32767 values in a page of 10"},
		"runs":                      {v1(10, 8, format.Plain), "\x04\x00\x00\x00" + run + run, format.Uncompressed, "a run of 10 values"},
		"eights":                    {v1(10, 8, format.Plain), "\x04\x00\x00\x00" + packed + packed, format.Uncompressed, ""},
		"three eights":              {v1(10, 10, format.Plain), "\x06\x00\x00\x00" + packed + packed + packed, format.Uncompressed, "a run of 8 values"},
		"a run's value":             {v1(10, 5, format.Plain), "\x01\x00\x00\x00\x14", format.Uncompressed, "ends too early"},
		"levels' length":            {v1(10, 6, format.Plain), "\x03\x00\x00\x00\x14\x01", format.Uncompressed, "ends too early"},
		"no levels":                 {v1(10, 3, format.Plain), "\x03\x00\x00", format.Uncompressed, "ends too early"},
		"run of a dictionary":       {v1(10, 9, format.RLEDictionary), page + "\x09\xfe\x03\x00\x01", format.Uncompressed, "a run of 255 values"},
		"all are null":              {v1(10, 6, format.RLEDictionary), page, format.Uncompressed, ""},
		"lengths":                   {v1(10, 11, format.DeltaLengthByteArray), page + deltas("\x80\x01", "\x04", "\x0b"), format.Uncompressed, "11 numbers"},
		"lengths' blocks":           {v1(10, 11, format.DeltaLengthByteArray), page + deltas("\x80\x80\x08", "\x04", "\x0a"), format.Uncompressed, "in blocks of 131072"},
		"lengths' parts":            {v1(10, 11, format.DeltaLengthByteArray), page + deltas("\x80\x01", "\x00", "\x0a"), format.Uncompressed, "in 0 parts"},
		"lengths' end":              {v1(10, 11, format.DeltaLengthByteArray), page + deltas("\x80\x01", "\x04", "\x0a"), format.Uncompressed, "ends too early"},
		"lengths of what is shared": {v1(10, 11, format.DeltaByteArray), page + deltas("\x80\x01", "\x04", "\x0b"), format.Uncompressed, "11 numbers"},
		"lengths of what is not": {v1(10, 16, format.DeltaByteArray), page + deltas("\x80\x01", "\x04", "\x01") + deltas("\x80\x01", "\x04", "\x0b"), format.Uncompressed,
			"11 numbers"},
		"snappy":     {dictionary, "\xff\xff\xff\xff\x0f", format.Snappy, "to be 4294967295 bytes, and its header says 6"},
		"zstd":       {dictionary, "\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x7f\x01\x00\x00", format.Zstd, "to be 2147483647 bytes, and its header says 6"},
		"lz4":        {dictionary, "\x60abcde", format.Lz4Raw, "and its header says 6"},
		"lz4, more":  {dictionary, "\x70abcdefg", format.Lz4Raw, "to be 7 bytes, and its header says 6"},
		"lz4, empty": {dictionary, "", format.Lz4Raw, "and its header says 6"},
	} {
		h := tt.header
		h.CompressedPageSize = int32(len(tt.content))
		rows, err := checkPage(&h, io.NewSectionReader(strings.NewReader(tt.content), 0, int64(len(tt.content))), tt.codec, true, 10)
		switch {
		case tt.want == "" && (err != nil || rows != 0):
			t.Errorf("%s: %d rows are left, %v", name, rows, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		h.CompressedPageSize++
		if _, err := checkPage(&h, io.NewSectionReader(strings.NewReader(tt.content), 0, int64(len(tt.content))), tt.codec, true, 10); err == nil {
			t.Errorf("%s: a page that the file ends in is none", name)
		}
	}
}

// TestSnappyBlocksBeginAsTheirDecoderHasIt: any part of them, of texts that repeat themselves near and far, and nothing is read behind what is damaged.
func TestSnappyBlocksBeginAsTheirDecoderHasIt(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for size := 1; size < 1<<18; size *= 3 {
		want := make([]byte, size)
		for i := range want {
			if want[i] = byte(rnd.Uint32()); i > 0 && rnd.IntN(8) > 0 {
				copy(want[i:i+1], want[rnd.IntN(i):])
			}
		}
		for at := 1 + size/3; at < size; at += 1 + rnd.IntN(size) { // far copies
			copy(want[at:], want[:rnd.IntN(at)])
		}
		block := snappy.Encode(nil, want)
		for _, n := range []int{0, 1, size / 2, size - 1, size, size + 9} {
			if got := snappyStart(block, n); !bytes.Equal(got, want[:min(n, size)]) {
				t.Errorf("the first %d of %d bytes are others", n, size)
			}
		}
		for range 1000 {
			damaged := slices.Clone(block)
			damaged[rnd.IntN(len(damaged))] ^= 1 << rnd.IntN(8)
			damaged = damaged[:rnd.IntN(len(damaged)+1)]
			got := snappyStart(damaged, size)
			if whole, err := snappy.Decode(nil, damaged); err == nil && !bytes.HasPrefix(whole, got) {
				t.Fatalf("of a damaged block of %d bytes others are made", size)
			}
		}
	}
}

// TestLZ4BlocksAreWhatTheirDecoderTakes: parquet-go unpacks without end what its decoder does not take.
func TestLZ4BlocksAreWhatTheirDecoderTakes(t *testing.T) {
	for block, want := range map[string]int64{
		"":                           -1,
		"\x00":                       0,
		"\x20ab":                     2,
		"\x20a":                      -1, // literals are missing
		"\x21ab":                     -1, // a match is missing
		"\x20ab\x01":                 -1, // half a distance
		"\x20ab\x01\x00":             -1, // no literals at the end
		"\x20ab\x01\x00\x10c":        7,
		"\x20ab\x02\x00\x10c":        7,
		"\x20ab\x03\x00\x10c":        -1, // before the beginning
		"\x20ab\x00\x00\x10c":        -1,
		"\x2fab\x01\x00\x05\x10c":    27,
		"\x2fab\x01\x00\xff":         -1,
		"\xf0\x01abcdefghijklmnop":   16,
		"\xf0":                       -1,
		"\x2fab\x01\x00\xff\x00\x00": 2 + 4 + 15 + 255,
	} {
		if got := lz4Bytes([]byte(block)); got != want {
			t.Errorf("%q: %d, want %d", block, got, want)
		}
		if want < 0 {
			continue // the decoder does not end
		}
		if made, err := parquet.Lz4Raw.Decode(nil, []byte(block)); err != nil || int64(len(made)) != want {
			t.Errorf("%q: the decoder makes %d bytes of it, %v", block, len(made), err)
		}
	}
}

// BenchmarkParquet reads texts of some thousand letters, 4 MiB a row group.
func BenchmarkParquet(b *testing.B) {
	type row struct {
		Text string `parquet:"text,plain"`
	}
	for _, codec := range []compress.Codec{&parquet.Snappy, &parquet.Zstd} {
		for version := 1; version <= 2; version++ {
			var file bytes.Buffer
			w := parquet.NewGenericWriter[row](&file, parquet.Compression(codec), parquet.DataPageVersion(version))
			rnd, size := rand.New(rand.NewPCG(1, 2)), 0
			for size < 16<<20 {
				var text strings.Builder
				for range 500 {
					fmt.Fprintf(&text, "%x ", rnd.IntN(1<<rnd.IntN(24)))
				}
				if _, err := w.Write([]row{{text.String()}}); err != nil {
					b.Fatal(err)
				}
				if size += text.Len(); size%(4<<20) < text.Len() {
					if err := w.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			path := write(b, "a.parquet", file.Bytes())
			b.Run(fmt.Sprintf("%s/version %d", codec, version), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					if _, _, err := all(path, Options{Format: Parquet, Field: "text"}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// FuzzParquet: a damaged file is an error, or other texts, but no panic and not a gigabyte.
func FuzzParquet(f *testing.F) {
	raw, err := os.ReadFile("testdata/rows.parquet")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(written(f, &parquet.Snappy, 1, &parquet.RLEDictionary))
	f.Add(written(f, &parquet.Snappy, 1, &parquet.Plain))
	f.Add(written(f, &parquet.Lz4Raw, 2, &parquet.DeltaByteArray))
	f.Add(written(f, &parquet.Uncompressed, 2, &parquet.DeltaLengthByteArray))
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := write(t, "a.parquet", raw)
		if n := allocated(func() { _, _, _ = all(path, Options{Format: Parquet, Field: "text"}) }); n > 1<<30 {
			t.Errorf("%d bytes were allocated for a file of %d", n, len(raw))
		}
	})
}
