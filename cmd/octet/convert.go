// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/config"
	"octet/internal/pace"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/nn"
	"octet/tokenizer"
)

// convertFlags are those of `octet checkpoint convert`.
type convertFlags struct {
	to, dtype, assets, config *string
	maxShard                  *float64
}

// runConvert is `octet checkpoint convert`: a saved model in another format.
func runConvert(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet checkpoint convert", pflag.ContinueOnError)
	f := convertFlags{
		to:       flags.String("to", "", "hf: a new folder for transformers; octet: a step in a folder of checkpoints"),
		dtype:    flags.String("dtype", "", "float32, bfloat16 or float16: what hf's weights are stored in (default: as they are); octet's are float32"),
		assets:   flags.String("assets", "", "folder whose tokenizer goes along (default: that of the model, if it has one)"),
		config:   flags.String("config", "", "configuration file that safetensors files were trained with"),
		maxShard: flags.Float64("max-shard-gb", 5, "hf's files have at most so many GB (1e9 bytes)"),
	}
	flags.Usage = func() {
		fmt.Fprintf(os.Stdout, "usage: octet checkpoint convert --to hf|octet [flags] FROM TO\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{err}
	}
	if flags.NArg() != 2 {
		return usageError{fmt.Errorf("want FROM and TO beside flags, not %q", flags.Args())}
	}
	for _, name := range []string{"dtype", "max-shard-gb"} {
		if *f.to == "octet" && flags.Changed(name) {
			return fmt.Errorf("--%s is for --to hf: what octet writes is float32, a file a rank; leave it out", name)
		}
	}
	return f.convert(flags.Arg(0), flags.Arg(1))
}

func (f convertFlags) convert(from, to string) error {
	if *f.to != "hf" && *f.to != "octet" {
		return fmt.Errorf("--to %q: want hf or octet", *f.to)
	}
	if *f.maxShard <= 0 {
		return fmt.Errorf("--max-shard-gb %v: want more than 0", *f.maxShard)
	}
	m, err := openSaved(from, *f.config)
	if err != nil {
		return err
	}
	if *f.assets != "" {
		if _, err := os.Stat(filepath.Join(*f.assets, tokenizer.FileName)); err != nil {
			return errors.Join(fmt.Errorf("--assets: %w", err), m.from.Close())
		}
		m.assets, m.config.BOS, m.config.EOS = *f.assets, nil, nil
	}
	if *f.to == "octet" {
		return m.toOctet(to)
	}
	return errors.Join(m.toHF(to, *f.dtype, int64(*f.maxShard*1e9)), m.from.Close())
}

// toHF writes a folder for transformers.
func (m *saved) toHF(to, dtype string, maxShard int64) error {
	stored, _, _ := m.from.Lookup("norm.weight")
	m.config.DType = stored
	if dtype != "" {
		var ok bool
		if m.config.DType, ok = hf.DType(dtype); !ok {
			return fmt.Errorf("--dtype %q: want float32, bfloat16 or float16", dtype)
		}
	}
	if _, err := m.openTexts(""); err != nil { // its ids must be the model's
		return err
	}
	tell := telling("written to " + to)
	if err := hf.Export(to, m.config, m.from, hf.Options{MaxShard: maxShard, Assets: m.assets, Progress: tell}); err != nil {
		return err
	}
	say(fmt.Sprintf("%s: %d parameters in %s, for transformers", to, m.config.Args.Params(), m.config.DType))
	return nil
}

// toOctet writes step 0 of a folder of checkpoints, and closes what it is read from.
func (m *saved) toOctet(to string) error {
	var params []*nn.Param
	for _, p := range nn.Parameters(llama.New(m.config.Args, 1)) {
		params = append(params, p)
	}
	w, err := checkpoint.NewWeights(m.path, m.from, params, m.config.Args.Shared())
	if err != nil {
		return err
	}
	run, err := m.asRun()
	if err != nil {
		return errors.Join(err, w.Close())
	}
	done, tell := int64(0), telling("written to "+to)
	dir, err := w.Save(to, run, func(n int) {
		done += int64(n)
		tell(done, 4*int64(m.config.Args.Params()))
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	say(fmt.Sprintf("%s: %d parameters in float32; train on with --checkpoint.initial_load_path=%s", dir, m.config.Args.Params(), dir))
	return nil
}

// asRun is what a checkpoint says of weights that no run has trained.
func (m *saved) asRun() (checkpoint.Run, error) {
	cfg := config.Default()
	cfg.Training.MixedPrecisionParam = "float32"
	if m.config.DType == safetensors.BF16 {
		cfg.Training.MixedPrecisionParam = "bfloat16"
	}
	if !m.isBytes {
		cfg.Training.Dataset = "tokens"
	}
	if m.seqLen > 0 {
		cfg.Training.SeqLen = m.seqLen
	}
	if m.assets != "" {
		at, err := filepath.Abs(m.assets)
		if err != nil {
			return checkpoint.Run{}, err
		}
		cfg.Model.HFAssetsPath = at
	}
	var text bytes.Buffer
	if err := cfg.Write(&text); err != nil {
		return checkpoint.Run{}, err
	}
	model, err := json.Marshal(m.config.Args)
	return checkpoint.Run{Model: model, Config: text.String()}, err
}

// telling says now and then how far a work is.
func telling(what string) func(done, all int64) {
	due := pace.Every(2 * time.Second)
	return func(done, all int64) {
		if due() {
			say(fmt.Sprintf("%.1f of %.1f GiB %s", gib(done), gib(all), what))
		}
	}
}
