// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"octet/backend"
	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/config"
	"octet/dtype"
	"octet/fp8"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/models/llama/inference"
	"octet/models/llama/plan"
	"octet/parallel"
)

// saved is a model in files, and what is known of it beside its weights.
type saved struct {
	path    string
	config  hf.Config // of which an octet checkpoint has the sizes, and the type that it was trained in
	from    checkpoint.Source
	assets  string // a folder that may have a tokenizer
	isBytes bool   // ids are bytes
	seqLen  int    // that it was trained with; 0: not known
}

// openSaved opens what is at path: a checkpoint of octet's, or a folder of them, of which it takes the newest; a folder of Hugging Face's; or
// safetensors files with octet's names, whose sizes are those of a configuration file.
func openSaved(path, configFile string) (*saved, error) {
	m := &saved{path: path}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	at := checkpoint.At(path)
	var err error
	switch {
	case exists(hf.ConfigName):
		err = m.openHF()
	case len(at) > 0:
		m.path = at[len(at)-1]
		err = m.openCheckpoint()
	case configFile != "":
		err = m.openWeights(configFile)
	case exists(""):
		err = fmt.Errorf("%s: it is no checkpoint of octet's (it has no %s) and no folder of Hugging Face's (no %s); "+
			"weights alone need --config, which says their sizes", path, checkpoint.IndexName, hf.ConfigName)
	default:
		err = fmt.Errorf("%s: there is no such file or folder", path)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (m *saved) openHF() (err error) {
	if m.config, err = hf.ReadConfig(m.path); err != nil {
		return err
	}
	m.assets = m.path
	m.from, err = hf.Open(m.path, m.config.Args)
	return err
}

func (m *saved) openCheckpoint() error {
	c, err := checkpoint.Open(m.path)
	if err != nil {
		return err
	}
	err = json.Unmarshal(c.Index.Model, &m.config.Args)
	if err == nil {
		file := config.File{Path: filepath.Join(m.path, checkpoint.IndexName), Text: c.Index.Config}
		var cfg *config.Config
		if cfg, err = config.Load([]string{"--config", file.Path}, file); err == nil {
			m.take(cfg)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", m.path, err), c.Close())
	}
	m.from = c
	return nil
}

func (m *saved) openWeights(configFile string) error {
	cfg, err := config.Load([]string{"--config", configFile})
	if err != nil {
		return err
	}
	m.take(cfg)
	if m.config.Args, err = plan.Sizes(cfg); err != nil {
		return err
	}
	m.from, err = checkpoint.OpenSource(m.path)
	return err
}

// take is what a run's configuration says of the model that it trains.
func (m *saved) take(cfg *config.Config) {
	m.config.DType = safetensors.F32
	if cfg.Training.MixedPrecisionParam == "bfloat16" {
		m.config.DType = safetensors.BF16
	}
	m.seqLen = cfg.Training.SeqLen
	m.assets = cfg.Model.HFAssetsPath
	m.isBytes = cfg.Training.Dataset != "tokens" && m.assets == ""
}

// computing is how a saved model computes.
type computing struct {
	dtype  string // empty: as the model was trained, or published
	recipe string // of float8; empty: none
	maxSeq int
}

// load opens a device and loads the model there; the caller closes the device.
func (m *saved) load(c computing) (*backend.Device, *inference.Model, error) {
	o := inference.Options{Name: "--checkpoint " + m.path, MaxSeq: c.maxSeq, Act: dtype.Float32}
	if c.dtype == "bfloat16" || c.dtype == "" && m.config.DType == safetensors.BF16 {
		o.Act = dtype.BFloat16
	}
	if c.recipe != "" {
		recipe, err := fp8.ConfigFromRecipe(fp8.RecipeName(c.recipe))
		if err != nil {
			return nil, nil, err
		}
		o.Float8 = &parallel.Float8{Config: recipe, Skip: []string{"output"}}
	}
	threads, err := threadsPerRank(1)
	if err == nil {
		err = enoughMemory(m.config.Args, o.Act)
	}
	if err != nil {
		return nil, nil, errors.Join(err, m.from.Close())
	}
	dev, err := backend.OpenDevice(backend.Options{Threads: threads})
	if err != nil {
		return nil, nil, errors.Join(err, m.from.Close())
	}
	if dev.Warning != "" {
		say(dev.Warning)
	}
	model, err := inference.Open(dev, m.config.Args, m.from, o)
	if err != nil {
		return nil, nil, errors.Join(err, dev.Close())
	}
	return dev, model, nil
}

// enoughMemory refuses weights that are not going to fit.
func enoughMemory(a llama.Args, act dtype.Type) error {
	free, err := backend.Memory("", 1)
	if need := int64(a.Params()) * int64(act.Size()); err == nil && free > 0 && need > free {
		err = fmt.Errorf("the weights need %.1f GiB of memory in %v (%d parameters), and %.1f GiB are free", gib(need), act, a.Params(), gib(free))
	}
	return err
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// checkDType refuses a name that is no type of activations.
func checkDType(name string) error {
	if name != "" && name != "float32" && name != "bfloat16" {
		return fmt.Errorf("--dtype %q: want float32 or bfloat16", name)
	}
	return nil
}
