// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
)

// Checkpoint is a folder that a Saver wrote, open for reading. It may be read from
// several goroutines at once.
type Checkpoint struct {
	Dir   string
	Index *Index

	mu    sync.Mutex
	files map[string]*os.File // opened where needed
}

// Source is tensors in files by name: a Checkpoint, or safetensors files.
type Source interface {
	Names() []string // sorted
	// Lookup is the type and the shape of a tensor; false where there is none.
	Lookup(name string) (safetensors.DType, []int, bool)
	// Read fills dst with the elements of a box of a tensor, in the type that they are
	// stored in.
	Read(name string, box dtensor.Box, dst []byte) error
	Close() error
}

var _ Source = (*Checkpoint)(nil)

// Open reads the index of the checkpoint in a folder, whose every byte is checked, and
// that its parts tile every tensor. The tensors are checked where they are read.
func Open(dir string) (*Checkpoint, error) {
	text, err := os.ReadFile(filepath.Join(dir, IndexName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noCheckpoint(dir, err)
	}
	if err != nil {
		return nil, err
	}
	x, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, IndexName), err)
	}
	return &Checkpoint{Dir: dir, Index: x, files: map[string]*os.File{}}, nil
}

// noCheckpoint says why a folder without an index is none.
func noCheckpoint(dir string, err error) error {
	switch {
	case exists(filepath.Join(dir, ".metadata")):
		return fmt.Errorf("%s is a checkpoint of PyTorch's (DCP), whose .metadata is a pickle, which octet does not run; convert it: "+
			"python -m torch.distributed.checkpoint.format_utils dcp_to_torch %s weights.pt, then save its tensors with safetensors.torch.save_file", dir, dir)
	case !exists(dir):
		return err
	}
	return fmt.Errorf("%s has no %s: it is not a checkpoint, or one whose save did not end", dir, IndexName)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Names are those of all tensors, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.Index.Tensors)) }

// Lookup implements Source.
func (c *Checkpoint) Lookup(name string) (safetensors.DType, []int, bool) {
	t, ok := c.Index.Tensors[name]
	return t.DType, t.Shape, ok
}

// Read fills dst with the elements of a box of a tensor. It reads the parts that have any of
// them whole, and compares their sums.
func (c *Checkpoint) Read(name string, box dtensor.Box, dst []byte) error {
	t, ok := c.Index.Tensors[name]
	if !ok {
		return fmt.Errorf("%s has no tensor %q among its %d", c.Dir, name, len(c.Index.Tensors))
	}
	if len(dst) != box.Numel()*t.DType.Size() {
		panic(fmt.Sprintf("checkpoint: %d bytes for the box %v of %s %v", len(dst), box, t.DType, t.Shape))
	}
	return c.read(extents([]wanted{{name, t, box, dst}}), func(int) {})
}

// file opens a file once, and checks its size and its header.
func (c *Checkpoint) file(name string) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.files[name]; f != nil {
		return f, nil
	}
	want := c.Index.Files[name]
	f, err := os.Open(filepath.Join(c.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the checkpoint lacks this file of %d", err, len(c.Index.Files))
	}
	if err != nil {
		return nil, err
	}
	if err := checkHeader(f, want); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	c.files[name] = f
	return f, nil
}

func checkHeader(f *os.File, want File) error {
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if stat.Size() != want.Size {
		return fmt.Errorf("has %d bytes, the index says %d", stat.Size(), want.Size)
	}
	head := make([]byte, want.Header)
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if got := crcOf(head); got != want.HeaderCRC32C {
		return fmt.Errorf("its header has the crc32c %08x, the index says %08x: a byte was changed", uint32(got), uint32(want.HeaderCRC32C))
	}
	return nil
}

// Close lets go of the files.
func (c *Checkpoint) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	clear(c.files)
	return errors.Join(errs...)
}
