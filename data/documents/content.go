// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

var errShort = errors.New("its content ends too early")

// checkContent holds what a page's content says of its number of values to its header.
func checkContent(h *format.PageHeader, content []byte, codec format.CompressionCodec, optional bool) (err error) {
	var levels []byte // which values are null
	values, encoding, packed := h.DataPageHeader.V.NumValues, h.DataPageHeader.V.Encoding, codec != format.Uncompressed
	if h.Type == format.DataPageV2 {
		v2 := &h.DataPageHeaderV2.V
		values, encoding, packed = v2.NumValues, v2.Encoding, packed && (!v2.IsCompressed.Valid || v2.IsCompressed.V)
		repeated, nulls := int(v2.RepetitionLevelsByteLength), int(v2.DefinitionLevelsByteLength)
		levels, content = content[repeated:repeated+nulls], content[repeated+nulls:]
	}
	if packed {
		if says := unpackedBytes(codec, content); says > int64(h.UncompressedPageSize) {
			return fmt.Errorf("its content is to be %d bytes, and its header says %d", says, h.UncompressedPageSize)
		}
	}
	if h.Type == format.DictionaryPage || h.Type == format.IndexPage {
		return nil
	}
	inside := h.Type == format.DataPage && optional // are the levels
	// Plain values say nothing of their number, so that they need not be unpacked for it.
	switch {
	case packed && inside && encoding == format.Plain && codec == format.Snappy:
		content = snappyLevels(content)
	case packed && (inside || encoding != format.Plain):
		if content, err = parquet.LookupCompressionCodec(codec).Decode(make([]byte, 0, h.UncompressedPageSize), content); err != nil {
			return err
		}
	}
	if inside {
		if len(content) < 4 {
			return errShort
		}
		n := int64(binary.LittleEndian.Uint32(content))
		if content = content[4:]; n > int64(len(content)) {
			return errShort
		}
		levels, content = content[:n], content[n:]
	}
	if optional {
		if err := checkRuns(levels, 1, values); err != nil {
			return err
		}
	}
	switch encoding {
	case format.PlainDictionary, format.RLEDictionary: //nolint:staticcheck // what old writers call it
		if len(content) == 0 {
			return nil // all are null
		}
		return checkRuns(content[1:], int(content[0]), values)
	case format.DeltaLengthByteArray:
		_, err = checkDeltas(content, values)
	case format.DeltaByteArray: // lengths of what is shared, then of what is not
		if content, err = checkDeltas(content, values); err == nil {
			_, err = checkDeltas(content, values)
		}
	}
	return err
}

// checkRuns reads over runs of so many values, of width bits each: Parquet's hybrid of run lengths and packed bits.
func checkRuns(raw []byte, width int, values int32) error {
	for left := int64(values) + 7; len(raw) > 0; { // packed values come in eights
		u, n := binary.Uvarint(raw)
		if n <= 0 {
			return errShort
		}
		count, size := u>>1, uint64(width+7)/8
		if u&1 == 1 {
			count, size = count*8, count*uint64(width)
		}
		if count > uint64(left) {
			return fmt.Errorf("a run of %d values in a page of %d", count, values)
		}
		left -= int64(count)
		if raw = raw[n:]; size > uint64(len(raw)) {
			return errShort
		}
		raw = raw[size:]
	}
	return nil
}

// checkDeltas reads over no more than so many numbers in Parquet's packed differences, and returns what follows them.
func checkDeltas(raw []byte, values int32) ([]byte, error) {
	var head [4]uint64 // values of a block, parts of a block, numbers in all, the first of them
	for i := range head {
		u, n := binary.Uvarint(raw)
		if n <= 0 {
			return nil, errShort
		}
		head[i], raw = u, raw[n:]
	}
	block, parts, total := head[0], head[1], head[2]
	if total > uint64(values) || block > 1<<16 || parts == 0 || parts > block {
		return nil, fmt.Errorf("%d numbers, in blocks of %d in %d parts, in a page of %d values", total, block, parts, values)
	}
	for done := uint64(1); done < total; {
		_, n := binary.Varint(raw) // the least difference
		if n <= 0 || uint64(len(raw)-n) < parts {
			return nil, errShort
		}
		widths := raw[n : n+int(parts)]
		for raw = raw[n+int(parts):]; len(widths) > 0 && done < total; widths = widths[1:] {
			size := min(int(block/parts)*int(widths[0])/8, len(raw)) // parquet-go takes what there is of the last
			raw = raw[size:]
			done += block / parts
		}
	}
	return raw, nil
}

// unpackedBytes is what parquet-go will allocate for compressed bytes by what they say of themselves, if that is not what its header says.
func unpackedBytes(codec format.CompressionCodec, packed []byte) int64 {
	switch codec {
	case format.Snappy:
		if n, err := snappy.DecodedLen(packed); err == nil {
			return int64(n)
		}
	case format.Zstd:
		var z zstd.Header
		if z.Decode(packed) == nil && z.HasFCS {
			return int64(min(z.FrameContentSize, math.MaxInt64))
		}
	case format.Lz4Raw:
		if n := lz4Bytes(packed); n >= 0 {
			return n
		}
		return math.MaxInt64
	}
	return 0
}
