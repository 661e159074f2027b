// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/internal/problems"
	"octet/models/llama"
)

const (
	weightsName = "model.safetensors"
	indexName   = weightsName + ".index.json"
)

// Weights are the tensors of a folder, under octet's names and with octet's rows. They are read where they are asked for, by several
// goroutines if need be.
type Weights struct {
	set     *safetensors.Set
	tensors map[string]tensor // by octet's name
	unused  []string
}

var _ checkpoint.Source = (*Weights)(nil)

// Open opens the weights of a model of the given sizes in a folder. Its error names every tensor that is missing or has another shape.
func Open(folder string, a llama.Args) (*Weights, error) {
	set, err := openSet(folder)
	if err != nil {
		return nil, fmt.Errorf("hf: %w", err)
	}
	w := &Weights{set: set, tensors: map[string]tensor{}}
	if err := w.find(folder, a); err != nil {
		return nil, errors.Join(fmt.Errorf("hf: %w", err), set.Close())
	}
	return w, nil
}

// find fills tensors and unused.
func (w *Weights) find(folder string, a llama.Args) error {
	var all []error
	used := map[string]bool{}
	wanted := tensors(a)
	if _, ok := w.set.Info("lm_head.weight"); ok && a.Tied { // it may be there too; what reads it compares the two
		wanted = append(wanted, tensor{"output.weight", "lm_head.weight", []int{a.Vocab, a.Dim}, 0})
	}
	for _, t := range wanted {
		w.tensors[t.octet] = t
		used[t.hf] = true
		info, ok := w.set.Info(t.hf)
		if !ok {
			all = append(all, fmt.Errorf("%s: %s %v is missing", folder, t.hf, t.shape))
		} else if !slices.Equal(info.Shape, t.shape) {
			all = append(all, fmt.Errorf("%s: %s has shape %v, %s asks for %v", folder, t.hf, info.Shape, ConfigName, t.shape))
		} else if err := safetensors.DecodeFloat32(nil, info.DType, nil); err != nil {
			all = append(all, fmt.Errorf("%s: %s: %w", folder, t.hf, err))
		}
	}
	for _, name := range w.set.Names() {
		if !used[name] && !strings.HasSuffix(name, "rotary_emb.inv_freq") { // which is computed
			w.unused = append(w.unused, name)
			if len(all) > 0 { // it may be what is missing, by another name
				all = append(all, fmt.Errorf("%s: %s is not a tensor of the model", folder, name))
			}
		}
	}
	return problems.Lines(all...)
}

// openSet opens the files of a folder that hold its model: those that the index names, or the one that there is without an index.
// There may be others, of the same model in another form.
func openSet(folder string) (*safetensors.Set, error) {
	text, err := os.ReadFile(filepath.Join(folder, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(folder, weightsName)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: there is neither %s nor %s", folder, weightsName, indexName)
		}
		return safetensors.OpenFiles(folder, filepath.Join(folder, weightsName))
	}
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(folder, indexName), err)
	}
	files, err := shards(folder, index.WeightMap)
	if err != nil {
		return nil, err
	}
	set, err := safetensors.OpenFiles(folder, files...)
	if err != nil {
		return nil, err
	}
	var lost []error
	for _, name := range slices.Sorted(maps.Keys(index.WeightMap)) {
		if info, ok := set.Info(name); !ok || filepath.Base(info.File) != index.WeightMap[name] {
			lost = append(lost, fmt.Errorf("%s: %s is not in %s, where %s has it", folder, name, index.WeightMap[name], indexName))
		}
	}
	if err := problems.Lines(lost...); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

// Fingerprint is checkpoint.Fingerprint of the weights in a folder.
func Fingerprint(folder string) (string, error) {
	set, err := openSet(folder)
	if err != nil {
		return "", fmt.Errorf("hf: %w", err)
	}
	sum, err := checkpoint.FingerprintOf(set)
	return sum, errors.Join(err, set.Close())
}

// shards are the paths of an index's files, all of which must be there.
func shards(folder string, weightMap map[string]string) ([]string, error) {
	how := map[string]int{} // many tensors each has
	for _, file := range weightMap {
		how[file]++
	}
	if len(how) == 0 {
		return nil, fmt.Errorf("%s: %s has no weight_map", folder, indexName)
	}
	var files []string
	var missing []error
	for _, file := range slices.Sorted(maps.Keys(how)) {
		if filepath.Base(file) != file {
			return nil, fmt.Errorf("%s: %s names the file %q, which is not in the folder", folder, indexName, file)
		}
		path := filepath.Join(folder, file)
		files = append(files, path)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, fmt.Errorf("%s: the shard %s is missing, which %s gives %d tensors", folder, file, indexName, how[file]))
		}
	}
	return files, problems.Lines(missing...)
}

// Names are octet's names of the tensors, sorted, and the names of those that the model does not have.
func (w *Weights) Names() []string {
	return slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(w.unused), maps.Keys(w.tensors))))
}

// Lookup implements checkpoint.Source.
func (w *Weights) Lookup(name string) (safetensors.DType, []int, bool) {
	info, ok := w.set.Info(w.tensors[name].hf)
	return info.DType, info.Shape, ok
}

// Read fills dst with the elements of a box of the tensor of octet's name.
func (w *Weights) Read(name string, box dtensor.Box, dst []byte) error {
	t := w.tensors[name]
	info, data, err := w.set.Tensor(t.hf)
	if err != nil {
		return fmt.Errorf("hf: %q: %w", name, err)
	}
	size, whole := info.DType.Size(), dtensor.Whole(info.Shape)
	if t.head == 0 {
		box.Overlap(whole, func(to, at, n int) { copy(dst[to*size:(to+n)*size], data[at*size:]) })
		return nil
	}
	columns, from := info.Shape[1], box.Lo[1]
	n := (box.Hi[1] - from) * size
	for i := box.Lo[0]; i < box.Hi[0]; i++ {
		at := (t.hfRow(i)*columns + from) * size
		dst = dst[copy(dst, data[at:at+n]):]
	}
	return nil
}

// Close lets go of the files.
func (w *Weights) Close() error { return w.set.Close() }
