// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"octet/models/llama/inference"
)

// modelFlags are those of every command that reads a saved model.
type modelFlags struct {
	checkpoint, config, assets, dtype, float8 *string
}

func newModelFlags(flags *pflag.FlagSet) modelFlags {
	return modelFlags{
		checkpoint: flags.String("checkpoint", "", "the model: a checkpoint of octet's, or the folder of them (the newest counts); a folder of Hugging Face's; or safetensors files, with --config"),
		config:     flags.String("config", "", "configuration file that safetensors files were trained with"),
		assets:     flags.String("assets", "", "folder with a tokenizer.json, if the model's own has none"),
		dtype:      flags.String("dtype", "", "float32 or bfloat16: what weights and activations are (default: as the model says)"),
		float8:     flags.String("float8", "", "compute linear layers but the last in float8, by this recipe: tensorwise, rowwise, …"),
	}
}

// open opens the model that the flags name, and its tokenizer.
func (f modelFlags) open() (*saved, texts, error) {
	if *f.checkpoint == "" {
		return nil, texts{}, errors.New("--checkpoint is missing: name a model")
	}
	if err := checkDType(*f.dtype); err != nil {
		return nil, texts{}, err
	}
	m, err := openSaved(*f.checkpoint, *f.config)
	if err != nil {
		return nil, texts{}, fmt.Errorf("--checkpoint %w", err)
	}
	t, err := m.openTexts(*f.assets)
	if err != nil {
		return nil, texts{}, errors.Join(err, m.from.Close())
	}
	return m, t, nil
}

// runGenerate is `octet generate`: a saved model continues a prompt.
func runGenerate(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet generate", pflag.ContinueOnError)
	of := newModelFlags(flags)
	prompt := flags.String("prompt", "", "text to go on from")
	promptIDs := flags.String("prompt-ids", "", "the same as token ids: 5,17,200")
	r := inference.Request{}
	flags.IntVar(&r.MaxNew, "max-new-tokens", 100, "how many tokens to add at most")
	flags.Float64Var(&r.Sampling.Temperature, "temperature", 1, "below 1 what is likely becomes likelier; 0 always takes the most likely token")
	flags.IntVar(&r.Sampling.TopK, "top-k", 0, "choose among the so many most likely tokens; 0: all")
	flags.Float64Var(&r.Sampling.TopP, "top-p", 1, "choose among the fewest most likely tokens whose probabilities sum to this")
	flags.Uint64Var(&r.Sampling.Seed, "seed", 0, "the same seed gives the same text")
	flags.Usage = func() {
		fmt.Fprintf(os.Stdout, "usage: octet generate --checkpoint DIR --prompt TEXT [flags]\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{fmt.Errorf("generate: %w", err)}
	}
	if flags.NArg() > 0 || flags.Changed("prompt") == flags.Changed("prompt-ids") {
		return usageError{fmt.Errorf("generate: want --prompt or --prompt-ids, and nothing beside flags: %q", flags.Args())}
	}
	if err := r.Sampling.Check(); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	m, t, err := of.open()
	if err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	if flags.Changed("prompt") {
		r.Prompt, err = t.encode(*prompt)
	} else {
		r.Prompt, err = parseIDs(*promptIDs)
	}
	if err == nil {
		r.Stop = t.stops(m)
		err = m.checkPrompt(r)
	}
	if err != nil {
		return fmt.Errorf("generate: %w", errors.Join(err, m.from.Close()))
	}
	dev, model, err := m.load(computing{*of.dtype, *of.float8, len(r.Prompt) + r.MaxNew})
	if err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	return errors.Join(stream(os.Stdout, model, t, r), dev.Close())
}

// checkPrompt refuses a prompt that leaves no room for what is asked for.
func (m *saved) checkPrompt(r inference.Request) error {
	switch most := m.config.Args.MaxSeqLen; {
	case len(r.Prompt) == 0:
		return errors.New("--prompt: it has no tokens, and there is nothing to go on from")
	case r.MaxNew < 1:
		return fmt.Errorf("--max-new-tokens %d: want 1 or more", r.MaxNew)
	case len(r.Prompt)+r.MaxNew > most:
		return fmt.Errorf("--prompt has %d tokens and --max-new-tokens is %d, together more than the %d positions of the model's context", len(r.Prompt), r.MaxNew, most)
	}
	for _, id := range r.Prompt {
		if vocab := m.config.Args.Vocab; id < 0 || int(id) >= vocab {
			return fmt.Errorf("--prompt-ids: %d is not in the model's vocabulary, 0 to %d", id, vocab-1)
		}
	}
	return nil
}

// stream writes the prompt and what comes after it, as it comes.
func stream(w io.Writer, model *inference.Model, t texts, r inference.Request) error {
	next, rest := t.decoder()
	var failed error
	for _, id := range r.Prompt {
		if failed == nil {
			_, failed = io.WriteString(w, next(id))
		}
	}
	start, n := time.Now(), 0
	err := model.Generate(r, func(tok inference.Token) bool {
		n++
		if failed == nil {
			_, failed = io.WriteString(w, next(tok.ID))
		}
		return failed == nil
	})
	if failed == nil {
		_, failed = fmt.Fprintln(w, rest())
	}
	if err == nil {
		say(fmt.Sprintf("%d tokens, %.1f a second", n, float64(n)/time.Since(start).Seconds()))
	}
	return errors.Join(err, failed)
}
