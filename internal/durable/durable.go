// SPDX-License-Identifier: Apache-2.0

// Package durable writes files that are there whole and on the disk, or not at all.
package durable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// Write has fill write a new file beside path and gives it path's name once its bytes are on the disk: whoever finds
// the file finds all of it, after a crash too, and an error leaves what was there before. Writers of one path
// do not disturb each other; the last wins. Folder brings the name to the disk.
func Write(path string, fill func(io.Writer) error) error {
	part := fmt.Sprintf("%s.%08x.part", path, rand.Uint32())
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part) // it takes room
	}
	return err
}

// Text is Write of a text.
func Text(path string, text []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Folder brings the names in a folder to the disk.
func Folder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
