// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
)

// OpenSource opens the checkpoint in the folder at path, or the safetensors file or files there.
func OpenSource(path string) (Source, error) {
	if exists(filepath.Join(path, IndexName)) || exists(filepath.Join(path, ".metadata")) {
		c, err := Open(path)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	set, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	return files{set}, nil
}

// files are safetensors files as a Source.
type files struct{ *safetensors.Set }

var _ Source = files{}

func (f files) Lookup(name string) (safetensors.DType, []int, bool) {
	info, ok := f.Info(name)
	return info.DType, info.Shape, ok
}

func (f files) Read(name string, box dtensor.Box, dst []byte) error {
	info, data, err := f.Tensor(name)
	if err != nil {
		return err
	}
	size := info.DType.Size()
	if size == 0 {
		return fmt.Errorf("%s: tensor %q is of the type %q, whose elements have no size that octet knows", info.File, name, info.DType)
	}
	box.Overlap(dtensor.Whole(info.Shape), func(to, at, n int) { copy(dst[to*size:(to+n)*size], data[at*size:]) })
	return nil
}

// Fingerprint is a SHA-256, in hexadecimal digits, of what is at path. Of a checkpoint it is
// that of the index, which has the sums of all; of safetensors that of the tensors in the
// order of their names, in whichever files they are: of each its name, a zero byte, type, shape and data.
func Fingerprint(path string) (string, error) {
	if text, err := os.ReadFile(filepath.Join(path, IndexName)); err == nil {
		return fmt.Sprintf("%x", sha256.Sum256(text)), nil
	}
	set, err := safetensors.Open(path)
	if err != nil {
		return "", initial(err)
	}
	sum, err := FingerprintOf(set)
	return sum, errors.Join(err, set.Close())
}

// FingerprintOf is that of safetensors that are open.
func FingerprintOf(set *safetensors.Set) (string, error) {
	h := sha256.New() // whose Write never fails
	for _, name := range set.Names() {
		info, raw, err := set.Tensor(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s\x00%s %v", name, info.DType, info.Shape)
		h.Write(raw)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// initial is an error of the files that checkpoint.initial_load_path names.
func initial(err error) error { return fmt.Errorf("checkpoint.initial_load_path: %w", err) }
