// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// parquetFile is an open Parquet file and the column of texts.
type parquetFile struct {
	*parquet.File
	file   *os.File
	column *parquet.Column
}

// openParquet opens a file and finds the column.
func openParquet(path, field string) (p *parquetFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := guarded(func() (err error) {
		if err := checkFooter(file, info.Size()); err != nil {
			return err
		}
		f, err := parquet.OpenFile(file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err != nil {
			return err
		}
		p = &parquetFile{File: f, file: file}
		return p.find(field)
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// find finds the column of texts.
func (p *parquetFile) find(field string) error {
	p.column = p.Root().Column(field)
	if p.column == nil {
		var names []string
		for _, c := range p.Root().Columns() {
			names = append(names, c.Name())
		}
		return fmt.Errorf("there is no field %q; the fields are %s", field, strings.Join(names, ", "))
	}
	if !p.column.Leaf() || p.column.Repeated() || p.column.Type().Kind() != parquet.ByteArray {
		return fmt.Errorf("the field %q is no string: it is %s", field, p.column)
	}
	return nil
}

// rowGroups are the sections of a file.
func rowGroups(path, field string) ([]Section, error) {
	p, err := openParquet(path, field)
	if err != nil {
		return nil, err
	}
	defer p.file.Close()
	var all []Section
	column := p.column.Index()
	for i, group := range p.Metadata().RowGroups {
		if column >= len(group.Columns) {
			return nil, fmt.Errorf("%s: the file is damaged: row group %d has %d columns", path, i, len(group.Columns))
		}
		all = append(all, Section{Path: path, group: i, Bytes: group.Columns[column].MetaData.TotalUncompressedSize})
	}
	return all, nil
}

// rows reads the texts of a row group.
func (r *reader) rows() error {
	p, err := openParquet(r.Path, r.Field)
	if err != nil {
		return err
	}
	defer p.file.Close()
	row := int64(0)
	for _, group := range p.RowGroups()[:r.group] {
		row += group.NumRows()
	}
	group, column := p.Metadata().RowGroups[r.group], p.column.Index()
	if err := guarded(func() error {
		return checkPages(p.file, p.Size(), &group.Columns[column].MetaData, p.column.Optional(), group.NumRows)
	}); err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	pages := p.RowGroups()[r.group].ColumnChunks()[column].Pages()
	defer pages.Close()
	values := make([]parquet.Value, 256)
	for {
		var page parquet.Page
		err := guarded(func() (err error) {
			page, err = pages.ReadPage()
			return err
		})
		if err == nil {
			err = r.page(page.Values(), values, &row)
			parquet.Release(page)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if _, used := errors.AsType[usedError](err); err != nil && !used {
			err = fmt.Errorf("%s: row %d: %w", r.Path, row, err)
		}
		if err != nil {
			return err
		}
	}
}

// page reads the texts of a page.
func (r *reader) page(in parquet.ValueReader, values []parquet.Value, row *int64) error {
	for {
		n := 0
		end := guarded(func() (err error) {
			n, err = in.ReadValues(values)
			return err
		})
		for _, v := range values[:n] {
			text := ""
			if !v.IsNull() {
				text = string(v.ByteArray())
			}
			if err := r.text(text); err != nil {
				return usedError{err}
			}
			*row++
		}
		if errors.Is(end, io.EOF) {
			return nil
		}
		if end != nil {
			return end
		}
	}
}

// usedError is an error of whoever used a text.
type usedError struct{ error }

func (e usedError) Unwrap() error { return e.error }

// guarded turns a panic of f, which parquet-go meets some damaged files with, into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	return f()
}
