// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"octet/tokenizer"
)

// dataCommands are the subcommands of octet data.
func dataCommands() []command {
	return []command{
		{name: "encode", help: "texts of JSON lines or Parquet to lists of ids, one a line", run: runDataEncode},
		{name: "decode", help: "lists of ids, one a line, to JSON lines of texts", run: runDataDecode},
		{name: "prepare", help: "a data set of documents to files of ids, in parallel; goes on where it was interrupted", run: runDataPrepare},
	}
}

// runData is `octet data`: what a tokenizer makes of data, and data made ready.
func runData(ctx context.Context, args []string) error {
	if len(args) > 0 && !slices.Contains([]string{"--help", "-h", "help"}, args[0]) {
		for _, c := range dataCommands() {
			if c.name == args[0] {
				return c.run(ctx, args[1:])
			}
		}
		return usageError{fmt.Errorf("data: unknown command %q", args[0])}
	}
	fmt.Print("usage: octet data <command> [flags], octet data <command> --help\n\n")
	for _, c := range dataCommands() {
		fmt.Printf("  %-10s %s\n", c.name, c.help)
	}
	return nil
}

// dataFlags are the flags that the subcommands share.
type dataFlags struct {
	*pflag.FlagSet
	command string
	assets  string
	field   string
	skip    bool
}

func newDataFlags(command, arguments string) *dataFlags {
	f := &dataFlags{FlagSet: pflag.NewFlagSet("octet data "+command, pflag.ContinueOnError), command: command}
	f.StringVar(&f.assets, "assets", "", "folder of a Hugging Face model, for its tokenizer.json")
	f.Usage = func() {
		fmt.Printf("usage: octet data %s [flags] %s\n\n%s", command, arguments, f.FlagUsages())
	}
	return f
}

// ofTexts adds the flags of documents.
func (f *dataFlags) ofTexts() {
	f.StringVar(&f.field, "field", "text", "field of JSON lines and Parquet that is the text")
	f.BoolVar(&f.skip, "skip-broken", false, "leave out lines without a text, and count them")
}

// parse reads the arguments; done is that help was asked for.
func (f *dataFlags) parse(args []string) (done bool, err error) {
	switch err := f.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return true, nil
	case err != nil:
		return false, f.wrong("%w", err)
	}
	return false, nil
}

// wrong is an error of the command line.
func (f *dataFlags) wrong(format string, args ...any) error {
	return usageError{fmt.Errorf("data "+f.command+": "+format, args...)}
}

// tokenizer opens the tokenizer of --assets.
func (f *dataFlags) tokenizer() (*tokenizer.Tokenizer, error) {
	if f.assets == "" {
		return nil, f.wrong("--assets: name the folder of a tokenizer.json")
	}
	t, err := tokenizer.Open(f.assets)
	if err != nil {
		return nil, fmt.Errorf("data %s: --assets=%s: %w", f.command, f.assets, err)
	}
	return t, nil
}
