// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"octet/data"
	"octet/data/documents"
	"octet/tokenizer"
)

// runDataDecode prints the text of each list of ids.
func runDataDecode(_ context.Context, args []string) error {
	flags := newDataFlags("decode", "[FILE | part-000000.u16]…")
	special := flags.Bool("special", false, "with the text of special tokens, such as <|end_of_text|>")
	if done, err := flags.parse(args); done || err != nil {
		return err
	}
	t, err := flags.tokenizer()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	d := decoding{t: t, special: *special, out: json.NewEncoder(out)}
	d.out.SetEscapeHTML(false)
	if flags.NArg() == 0 {
		err = d.lists("standard input", os.Stdin)
	}
	for _, path := range flags.Args() {
		if err == nil {
			err = d.file(path)
		}
	}
	if err != nil {
		err = fmt.Errorf("data decode: %w", err)
	}
	return errors.Join(err, out.Flush())
}

// decoding writes texts.
type decoding struct {
	t       *tokenizer.Tokenizer
	special bool
	out     *json.Encoder
}

// lists decodes lists of ids, one a line.
func (d *decoding) lists(name string, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, documents.MostBytes)
	number := 1
	for ; lines.Scan(); number++ {
		var ids []int32
		if err := json.Unmarshal(lines.Bytes(), &ids); err != nil {
			return fmt.Errorf("%s: line %d: no list of ids: %w", name, number, err)
		}
		if err := d.document(ids); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: line %d: %w", name, number, err)
	}
	return nil
}

// document writes the text of a document.
func (d *decoding) document(ids []int32) error {
	decoder := d.t.NewDecoder()
	decoder.SkipSpecial = !d.special
	var text strings.Builder
	for _, id := range ids {
		if _, ok := d.t.Token(id); !ok {
			return fmt.Errorf("the tokenizer has no id %d; its ids are below %d", id, d.t.VocabSize())
		}
		text.WriteString(decoder.Next(id))
	}
	text.WriteString(decoder.Flush())
	return d.out.Encode(map[string]string{"text": text.String()})
}

// file decodes a file: ids that were prepared, or lists of them.
func (d *decoding) file(path string) error {
	if data.IsIDs(path) {
		return data.ReadDocuments(path, d.document)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.lists(path, f)
}
