// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// Output is where a benchmark's rows go, each as soon as it is measured.
type Output struct {
	Text     io.Writer             // for people: some of the columns
	CSV      io.Writer             // all of the columns, under their names; nil: nowhere
	Progress func(done, total int) // is told of rows; nil: nobody
}

// column of a benchmark's table.
type column struct {
	name  string
	width int // in Text; 0: only in the CSV
}

// table writes rows.
type table struct {
	out         Output
	columns     []column
	csv         *csv.Writer
	done, total int
}

// table writes the names of the columns, of a table of that many rows. columns has
// the name and the width of each.
func (o Output) table(total int, columns ...column) (*table, error) {
	t := &table{out: o, columns: columns, total: total}
	if o.CSV != nil {
		t.csv = csv.NewWriter(o.CSV)
	}
	names := make([]any, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	t.progress()
	return t, t.write(names)
}

// row writes one: a value a column, nil where there is none.
func (t *table) row(values ...any) error {
	if len(values) != len(t.columns) {
		panic(fmt.Sprintf("bench: a row of %d values in a table of %d columns", len(values), len(t.columns)))
	}
	err := t.write(values)
	t.done++
	t.progress()
	return err
}

func (t *table) progress() {
	if t.out.Progress != nil {
		t.out.Progress(t.done, t.total)
	}
}

func (t *table) write(values []any) error {
	var line []byte
	exact := make([]string, len(values))
	for i, v := range values {
		shown := ""
		switch v := v.(type) {
		case nil:
		case float64:
			exact[i], shown = strconv.FormatFloat(v, 'g', -1, 64), fmt.Sprintf("%.4g", v)
		default:
			exact[i] = fmt.Sprint(v)
			shown = exact[i]
		}
		if w := t.columns[i].width; w > 0 {
			line = fmt.Appendf(line, "%*s  ", w, shown)
		}
	}
	if _, err := t.out.Text.Write(append(line, '\n')); err != nil {
		return err
	}
	if t.csv == nil {
		return nil
	}
	if err := t.csv.Write(exact); err != nil {
		return err
	}
	t.csv.Flush()
	return t.csv.Error()
}
