// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// parquet-go allocates what a Parquet file says that it needs before it reads it, so that one wrong byte of a small file asks for gigabytes,
// and a lack of memory ends a process whatever recovers. So what is said is held to what is there first.

// mostValues is the most rows of a page; writers end one at some thousands.
const mostValues = 1 << 26

// checkFooter reads through the footer of a file of so many bytes.
func checkFooter(file io.ReaderAt, size int64) error {
	var end [8]byte // the footer's length and the magic number, which parquet-go looks at
	if size < 12 {
		return fmt.Errorf("the file is damaged: it has %d bytes, and an empty one 12", size)
	}
	if _, err := file.ReadAt(end[:], size-8); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(end[:]))
	if n > size-12 {
		return fmt.Errorf("the file is damaged: a footer of %d bytes in a file of %d", n, size)
	}
	if _, err := structBytes(file, size-8-n, n); err != nil {
		return fmt.Errorf("the file is damaged: footer: %w", err)
	}
	return nil
}

// checkPages reads the headers of the pages of a column that no row has twice, in a file of so many bytes.
func checkPages(file io.ReaderAt, size int64, column *format.ColumnMetaData, optional bool, rows int64) error {
	at := column.DataPageOffset
	if column.DictionaryPageOffset != 0 {
		at = column.DictionaryPageOffset
	}
	if at < 0 || at > size || column.TotalCompressedSize < 0 {
		return fmt.Errorf("the file is damaged: %d bytes of pages at %d in a file of %d", column.TotalCompressedSize, at, size)
	}
	for end := at + min(column.TotalCompressedSize, size-at); at < end; {
		n, err := structBytes(file, at, size-at)
		if err != nil {
			return fmt.Errorf("the file is damaged: header of the page at %d: %w", at, err)
		}
		raw := make([]byte, n)
		if _, err := file.ReadAt(raw, at); err != nil {
			return err
		}
		var h format.PageHeader
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), raw, &h); err != nil {
			return fmt.Errorf("the file is damaged: header of the page at %d: %w", at, err)
		}
		content := io.NewSectionReader(file, at+n, size-at-n)
		if rows, err = checkPage(&h, content, column.Codec, optional, rows); err != nil {
			return fmt.Errorf("the file is damaged: the page at %d: %w", at, err)
		}
		at += n + int64(h.CompressedPageSize)
	}
	return nil
}

// checkPage holds a page's header to its content, of which there is no more than content has, and to the rows that are left, and returns
// those that are left after it.
func checkPage(h *format.PageHeader, content *io.SectionReader, codec format.CompressionCodec, optional bool, rows int64) (int64, error) {
	packed, unpacked := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
	values, levels := h.DictionaryPageHeader.V.NumValues, int64(0)
	switch h.Type {
	case format.DataPage:
		values = h.DataPageHeader.V.NumValues
	case format.DataPageV2:
		v2 := &h.DataPageHeaderV2.V
		values, levels = v2.NumValues, int64(v2.RepetitionLevelsByteLength)+int64(v2.DefinitionLevelsByteLength)
	}
	if h.Type != format.DictionaryPage {
		rows -= int64(values)
	}
	switch {
	case values < 0 || values > mostValues || rows < 0:
		return 0, fmt.Errorf("%d rows, which are more than there are in all or than the %d of one page", values, mostValues)
	case packed < 0 || packed > content.Size():
		return 0, fmt.Errorf("%d bytes, where the file has %d more", packed, content.Size())
	case levels < 0 || levels > packed:
		return 0, fmt.Errorf("%d bytes of levels in a page of %d", levels, packed)
	case unpacked < 0 || unpacked > min(MostBytes, 64<<20+1024*packed):
		return 0, fmt.Errorf("%d bytes, of which %d are to be made", packed, unpacked)
	}
	raw := make([]byte, packed)
	if _, err := io.ReadFull(content, raw); err != nil {
		return 0, err
	}
	return rows, checkContent(h, raw, codec, optional)
}
