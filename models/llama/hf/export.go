// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/tokenizer"
)

// Options of an export.
type Options struct {
	// MaxShard is how many bytes of tensors a file has at most, unless one tensor has more; 0: 5e9.
	MaxShard int64
	// Assets is a folder whose files of a tokenizer go along; empty: none do. The ids that begin and end a text are its, where Config does
	// not say.
	Assets string
	// Progress, where there is one, is called with the bytes that are written, of all.
	Progress func(done, all int64)
}

// assets are the files that go along: of a tokenizer, and what transformers' generate starts from.
func assets() []string {
	return []string{
		"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
		"chat_template.jinja", "chat_template.json", "generation_config.json",
	}
}

// Export makes a folder, of which there is none yet, that transformers loads: c as its config.json, and the weights of from,
// in c.DType, under transformers' names. It is there whole or not at all.
func Export(folder string, c Config, from checkpoint.Source, o Options) (err error) {
	folder = filepath.Clean(folder)
	defer func() {
		if err != nil {
			err = fmt.Errorf("hf: export to %s: %w", folder, err)
		}
	}()
	if err := checkFree(folder); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(folder), "."+filepath.Base(folder)+".tmp-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }() // there is none after the rename
	e := &export{folder: tmp, config: c, from: from, options: o, piece: pieceBytes}
	if err := errors.Join(os.Chmod(tmp, 0o755), e.write()); err != nil {
		return err
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is not empty stays
		return err
	}
	if err := os.Rename(tmp, folder); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(folder))
}

// checkFree refuses a folder that has something in it.
func checkFree(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.New("it is there already; name a new folder")
}

// export is the writing of one folder.
type export struct {
	folder    string
	config    Config
	from      checkpoint.Source
	options   Options
	piece     int // about so many bytes of a tensor, as float32, are in memory at once
	done, all int64
}

func (e *export) write() error {
	if e.config.DType == "" {
		return errors.New("Config.DType is empty; want F32, BF16 or F16")
	}
	files, weightMap := e.plan()
	for i, tensors := range files {
		if err := e.writeFile(filepath.Join(e.folder, fileName(i, len(files))), tensors); err != nil {
			return err
		}
	}
	if len(files) > 1 {
		index := map[string]any{"metadata": map[string]any{"total_size": e.all}, "weight_map": weightMap}
		text, err := json.MarshalIndent(index, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join(e.folder, indexName), append(text, '\n'), 0o666)
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(e.copyAssets(), e.takeIDs()); err != nil {
		return err
	}
	return errors.Join(WriteConfig(e.folder, e.config), syncFolder(e.folder))
}

// plan distributes the tensors over files, in their order.
func (e *export) plan() (files [][]tensor, weightMap map[string]string) {
	limit := e.options.MaxShard
	if limit == 0 {
		limit = 5e9
	}
	left := int64(0)
	for _, t := range tensors(e.config.Args) {
		n := int64(dtensor.Whole(t.shape).Numel() * e.config.DType.Size())
		if n > left {
			files, left = append(files, nil), limit
		}
		last := len(files) - 1
		files[last] = append(files[last], t)
		left -= n
		e.all += n
	}
	weightMap = map[string]string{}
	for i, list := range files {
		for _, t := range list {
			weightMap[t.hf] = fileName(i, len(files))
		}
	}
	return files, weightMap
}

// fileName is transformers' name of file i of n.
func fileName(i, n int) string {
	if n == 1 {
		return weightsName
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
}

func (e *export) writeFile(path string, list []tensor) (err error) {
	byName := map[string]tensor{}
	var entries []safetensors.Tensor
	for _, t := range list {
		byName[t.hf] = t
		entries = append(entries, safetensors.Tensor{Name: t.hf, DType: e.config.DType, Shape: t.shape})
	}
	head, entries, err := safetensors.Header(map[string]string{"format": "pt"}, entries)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<16)
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := e.writeTensor(w, byName[entry.Name]); err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
	}
	return errors.Join(w.Flush(), f.Sync())
}

const pieceBytes = 32 << 20

// writeTensor writes the rows of a tensor, in transformers' order.
func (e *export) writeTensor(w io.Writer, t tensor) error {
	kind, shape, ok := e.from.Lookup(t.octet)
	if !ok {
		return fmt.Errorf("%s is missing", t.octet)
	}
	whole := dtensor.Whole(t.shape)
	if !dtensor.Whole(shape).Equal(whole) {
		return fmt.Errorf("%s has shape %v, the model wants %v", t.octet, shape, t.shape)
	}
	rows := t.shape[0]
	width := whole.Numel() / max(1, rows)
	step := max(1, e.piece/(4*max(1, width)))
	if t.head > 0 { // whole heads: their rows change places within them
		step = (step + t.head - 1) / t.head * t.head
	}
	for lo := 0; lo < rows; lo += step {
		hi := min(lo+step, rows)
		raw := make([]byte, (hi-lo)*width*kind.Size())
		if err := e.from.Read(t.octet, whole.Rows(lo, hi), raw); err != nil {
			return err
		}
		values := make([]float32, (hi-lo)*width)
		if err := safetensors.DecodeFloat32(values, kind, raw); err != nil {
			return err
		}
		if err := checkRange(values, e.config.DType); err != nil {
			return err
		}
		if t.head > 0 {
			values = t.reorder(values, width)
		}
		out := make([]byte, len(values)*e.config.DType.Size())
		if err := safetensors.EncodeFloat32(out, e.config.DType, values); err != nil {
			return err
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
		e.done += int64(len(out))
		if e.options.Progress != nil {
			e.options.Progress(e.done, e.all)
		}
	}
	return nil
}

// reorder puts the rows of whole heads into transformers' order.
func (t tensor) reorder(rows []float32, width int) []float32 {
	out := make([]float32, len(rows))
	for i := range len(rows) / width {
		copy(out[t.hfRow(i)*width:][:width], rows[i*width:])
	}
	return out
}

// checkRange refuses finite values that would become infinite.
func checkRange(values []float32, as safetensors.DType) error {
	if as != safetensors.F16 {
		return nil
	}
	const beyond = 65520 // rounds to 2^16, which float16 has not
	for _, v := range values {
		if abs := math.Abs(float64(v)); abs >= beyond && !math.IsInf(abs, 0) {
			return fmt.Errorf("the value %v is beyond float16; export as bfloat16 or float32", v)
		}
	}
	return nil
}

// copyAssets copies the files of a tokenizer that there are.
func (e *export) copyAssets() error {
	if e.options.Assets == "" {
		return nil
	}
	for _, name := range assets() {
		text, err := os.ReadFile(filepath.Join(e.options.Assets, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(e.folder, name), text, 0o666)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeIDs takes from a tokenizer that goes along which ids begin and end a text, where the configuration does not say.
func (e *export) takeIDs() error {
	if e.options.Assets == "" || len(e.config.BOS)+len(e.config.EOS) > 0 {
		return nil
	}
	t, err := tokenizer.Open(e.options.Assets)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if id, ok := t.BOS(); ok {
		e.config.BOS = []int{int(id)}
	}
	if id, ok := t.EOS(); ok {
		e.config.EOS = []int{int(id)}
	}
	return nil
}

// syncFolder brings the names in a folder to the disk.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
