// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"octet/checkpoint"
	"octet/internal/durable"
	"octet/tokenizer"
)

// Options of an export.
type Options struct {
	// Ranks write the folder together: all of them call Export, alike but for Rank, with weights that each can read whole, and each
	// converts its share of the pieces. The zero value is one rank alone.
	Ranks checkpoint.Ranks
	// Making is the folder in which several ranks write, beside the one to be: none yet, and on their one file system.
	Making string
	// MaxShard is how many bytes of tensors a file has at most, unless one tensor has more; 0: 5e9.
	MaxShard int64
	// Assets is a folder whose files of a tokenizer go along; empty: none do. The ids that begin and end a text are its, where Config does
	// not say.
	Assets string
	// Progress, where there is one, is called with the bytes that this rank has written, of all that it will.
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
// in c.DType, under transformers' names. It is there whole or not at all. Of several ranks rank 0 knows what became of it; the others' error is their own.
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
	if c.DType == "" {
		return errors.New("Config.DType is empty; want F32, BF16 or F16")
	}
	e := &export{config: c, from: from, options: o, piece: pieceBytes}
	if o.Ranks.Rank > 0 {
		return e.help(folder)
	}
	return e.lead(folder)
}

// lead makes the folder, as rank 0.
func (e *export) lead(folder string) (err error) {
	if e.making = e.options.Making; e.options.Ranks.World > 1 {
		err = os.Mkdir(e.making, 0o777)
	} else if e.making, err = os.MkdirTemp(filepath.Dir(folder), "."+filepath.Base(folder)+".tmp-"); err == nil {
		err = os.Chmod(e.making, 0o755)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(e.making)) }() // there is none after the rename
	files, pieces, err := e.plan()
	if err == nil {
		err = e.begin(files)
	}
	if err == nil {
		err = e.write(files, pieces)
	}
	if err == nil {
		err = errors.Join(e.copyAssets(), e.takeIDs())
	}
	if err := e.options.Ranks.Collect(e.making, err, refuse); err != nil { // nobody writes any more
		return err
	}
	if err := errors.Join(e.index(files, pieces), WriteConfig(e.making, e.config), durable.Folder(e.making)); err != nil {
		return err
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is not empty stays
		return err
	}
	if err := os.Rename(e.making, folder); err != nil {
		return err
	}
	return durable.Folder(filepath.Dir(folder))
}

// refuse is the error that another rank reports, if it does.
func refuse(report []byte) error {
	if len(report) == 0 {
		return nil
	}
	return errors.New(string(report))
}

// help writes what is another rank's in the folder that rank 0 makes. Where there is none, or none any more, rank 0 knows why.
func (e *export) help(folder string) error {
	e.making = e.options.Making
	r := e.options.Ranks
	if r.AwaitEnd(filepath.Dir(e.making), e.making) != nil {
		return nil
	}
	files, pieces, err := e.plan()
	if err == nil {
		err = e.write(files, pieces)
	}
	if err == nil {
		err = r.Report(e.making, nil)
	}
	if _, gone := os.Stat(e.making); errors.Is(gone, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.Fail(e.making, []byte(err.Error()))
		return err
	}
	_ = r.AwaitEnd(e.making, folder)
	return nil
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
			err = os.WriteFile(filepath.Join(e.making, name), text, 0o666)
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
