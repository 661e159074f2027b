// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"octet/data/documents"
)

// runDataEncode prints the ids of each text.
func runDataEncode(_ context.Context, args []string) error {
	flags := newDataFlags("encode", "FILE…")
	flags.ofTexts()
	whole := flags.Bool("documents", false, "with the tokens that begin and end a document, as in training")
	if done, err := flags.parse(args); done || err != nil {
		return err
	}
	t, err := flags.tokenizer()
	if err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return flags.wrong("name a file of JSON lines (.jsonl, .jsonl.gz, .jsonl.zst) or Parquet")
	}
	encoder := t.NewEncoder()
	encode := encoder.Append
	if *whole {
		encode = encoder.AppendDocument
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	broken, ids := 0, []int32{}
	for _, path := range flags.Args() {
		left, err := eachText(path, documents.Options{Field: flags.field, SkipBroken: flags.skip}, func(text string) error {
			ids = encode(ids[:0], text)
			line, err := json.Marshal(ids)
			if err == nil {
				_, err = out.Write(append(line, '\n'))
			}
			return err
		})
		broken += left.Broken
		if err != nil {
			return errors.Join(fmt.Errorf("data encode: %w", err), out.Flush())
		}
	}
	if broken > 0 {
		say(fmt.Sprintf("%d broken lines are left out", broken))
	}
	return out.Flush()
}

// eachText calls use with each text of a file, empty ones left out.
func eachText(path string, o documents.Options, use func(text string) error) (left documents.Left, err error) {
	for _, o.Format = range []documents.Format{documents.JSONL, documents.Parquet, ""} {
		if o.Format != "" && o.Format.Keeps(path) {
			break
		}
	}
	if o.Format == "" {
		return left, fmt.Errorf("%s: its name ends in none of .jsonl, .jsonl.gz, .jsonl.zst, .parquet", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return left, err
	}
	sections, err := documents.Sections(path, info.Size(), o)
	if err != nil {
		return left, err
	}
	for _, s := range sections {
		more, err := s.Read(o, use)
		left.Broken += more.Broken
		if err != nil {
			return left, err
		}
	}
	return left, nil
}
