// SPDX-License-Identifier: Apache-2.0

package train

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"octet/checkpoint/safetensors"
	"octet/config"
	"octet/data"
)

// Contents names what cfg has read from files, by fingerprints that are equal
// where the contents are, whatever the paths: the data, and the first weights
// if they are loaded. It reads every byte.
func Contents(cfg *config.Config) (map[string]string, error) {
	c, err := dataConfig(cfg)
	if err != nil {
		return nil, err
	}
	contents := map[string]string{}
	if contents["the training data"], err = dataFingerprint(c); err != nil {
		return nil, err
	}
	if cfg.Validation.Enable {
		if contents["the validation data"], err = dataFingerprint(validationConfig(cfg, c)); err != nil {
			return nil, err
		}
	}
	if path := cfg.Checkpoint.InitialLoadPath; path != "" {
		if contents["the initial weights"], err = weightsFingerprint(path); err != nil {
			return nil, fmt.Errorf("checkpoint.initial_load_path: %w", err)
		}
	}
	return contents, nil
}

// dataFingerprint is how much data there is, and which.
func dataFingerprint(c data.Config) (string, error) {
	source, err := data.OpenSource(c)
	if err != nil {
		return "", err
	}
	sum, err := source.Fingerprint()
	return fmt.Sprintf("%d tokens with the fingerprint %s", source.Len(), sum), err
}

// weightsFingerprint is the SHA-256 of the tensors at path in the order of their
// names, in whichever files they are: of each its name, a zero byte, type, shape
// and data.
func weightsFingerprint(path string) (string, error) {
	set, err := safetensors.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New() // whose Write never fails
	for _, name := range slices.Sorted(slices.Values(set.Names())) {
		info, raw, err := set.Tensor(name)
		if err != nil {
			return "", errors.Join(err, set.Close())
		}
		fmt.Fprintf(h, "%s\x00%s %v", name, info.DType, info.Shape)
		h.Write(raw)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), set.Close()
}
