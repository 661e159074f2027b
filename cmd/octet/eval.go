// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/spf13/pflag"

	"octet/models/llama/inference"
)

// runEval is `octet eval`: how well a saved model predicts a text.
func runEval(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet eval", pflag.ContinueOnError)
	of := newModelFlags(flags)
	path := flags.String("text", "", "file with the text")
	seqLen := flags.Int("seq-len", 0, "tokens of a window: of each it is seen what comes before there (default: as the model was trained, or 2048)")
	flags.Usage = func() {
		fmt.Fprintf(os.Stdout, "usage: octet eval --checkpoint DIR --text FILE [flags]\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{fmt.Errorf("eval: %w", err)}
	}
	if flags.NArg() > 0 || *path == "" {
		return usageError{fmt.Errorf("eval: want --text FILE, and nothing beside flags: %q", flags.Args())}
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		return fmt.Errorf("eval: --text: %w", err)
	}
	m, t, err := of.open()
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	window, err := m.window(*seqLen)
	var ids []int32
	if err == nil {
		ids, err = t.encode(string(text))
	}
	if err == nil && len(ids) < 2 {
		err = fmt.Errorf("--text %s: it has %d tokens; the first is not predicted, so that 2 are the least", *path, len(ids))
	}
	if err != nil {
		return fmt.Errorf("eval: %w", errors.Join(err, m.from.Close()))
	}
	dev, model, err := m.load(computing{*of.dtype, *of.float8, window})
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	return errors.Join(measure(model, t, ids, len(text), window), dev.Close())
}

// window is how many tokens the model sees at most.
func (m *saved) window(asked int) (int, error) {
	most := m.config.Args.MaxSeqLen
	switch {
	case asked < 0:
		return 0, fmt.Errorf("--seq-len %d: want 1 or more", asked)
	case asked > most:
		return 0, fmt.Errorf("--seq-len %d: the model has %d positions", asked, most)
	case asked > 0:
		return asked, nil
	case m.seqLen > 0:
		return min(m.seqLen, most), nil
	}
	return min(2048, most), nil
}

// measure prints the loss of a text of that many bytes.
func measure(model *inference.Model, t texts, ids []int32, bytes, window int) error {
	nats, err := model.Loss(ids, window)
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	n := len(ids) - 1
	next, rest := t.decoder()
	predicted := bytes - len(next(ids[0])+rest()) // the first token's bytes are given, if it has any
	loss := nats / float64(n)
	_, err = fmt.Printf("loss %.5f nats a token, perplexity %.4f, %.5f bits a byte: %d tokens and %d bytes in windows of %d\n",
		loss, math.Exp(loss), nats/math.Ln2/float64(predicted), n, predicted, window)
	return err
}
