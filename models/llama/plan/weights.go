// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"octet/checkpoint"
	"octet/config"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/nn"
)

// initial is where the first weights are: the key that says so, the path, and whether they are Hugging Face's. Without a path they are drawn.
func initial(cfg *config.Config) (key, path string, inHF bool) {
	c := cfg.Checkpoint
	if c.InitialLoadInHF && c.InitialLoadPath == "" {
		return "model.hf_assets_path", cfg.Model.HFAssetsPath, true
	}
	return "checkpoint.initial_load_path", c.InitialLoadPath, c.InitialLoadInHF
}

// OpenWeights opens the first weights that the configuration names for the parameters, and finds what does not fit; nil if it names none.
func (r *Run) OpenWeights(params []*nn.Param) (*checkpoint.Weights, error) {
	key, path, inHF := initial(r.Config)
	switch {
	case path == "":
		return nil, nil
	case !inHF:
		return checkpoint.OpenWeights(path, params, r.Args.Shared())
	}
	from, err := hf.Open(path, r.Args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return checkpoint.NewWeights(key+" = "+path, from, params, r.Args.Shared())
}

// FingerprintWeights is that of the first weights that the configuration names; empty if it names none.
func (r *Run) FingerprintWeights() (string, error) {
	key, path, inHF := initial(r.Config)
	switch {
	case path == "":
		return "", nil
	case !inHF:
		return checkpoint.Fingerprint(path)
	}
	sum, err := hf.Fingerprint(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return sum, nil
}

// compareHF compares the model with the config.json of a Hugging Face model that the run uses: weights must be of the same model,
// a tokenizer may be of another. What [model.args] changes of the flavor hf is what a user wants otherwise.
func compareHF(cfg *config.Config, a llama.Args) (notes []string, err error) {
	key, path, inHF := initial(cfg)
	if cfg.Model.Flavor == "hf" {
		if a, err = flavor(cfg.Model); err != nil {
			return nil, err
		}
	}
	if path != "" && inHF {
		c, err := hf.ReadConfig(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if d := a.Differences(c.Args); len(d) > 0 {
			return nil, fmt.Errorf("%s = %q: its weights are of another model than model.flavor = %q and model.args make: %s; "+
				"model.flavor = \"hf\" takes its sizes from model.hf_assets_path", key, path, cfg.Model.Flavor, strings.Join(d, ", "))
		}
	}
	assets := cfg.Model.HFAssetsPath
	if assets == "" || cfg.Model.Flavor == "hf" || inHF && path == assets {
		return nil, nil
	}
	if _, err := os.Stat(filepath.Join(assets, hf.ConfigName)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c, err := hf.ReadConfig(assets)
	if err != nil {
		return nil, nil // of a model that octet has not, which the run does not use
	}
	if d := a.Differences(c.Args); len(d) > 0 {
		notes = append(notes, fmt.Sprintf("model.hf_assets_path = %q has the sizes of another model than model.flavor = %q and model.args make: %s; "+
			"only its tokenizer is used", assets, cfg.Model.Flavor, strings.Join(d, ", ")))
	}
	return notes, nil
}
