// SPDX-License-Identifier: Apache-2.0

// Package safetensors reads and writes safetensors files: a length, a JSON header that names each tensor with its dtype, shape and
// bytes, then the bytes themselves, little-endian, row-major, without gaps.
//
// [Open] maps a file, or every *.safetensors file of a folder as one set, so that reading some rows of a tensor touches only their pages.
// Every header is checked before a tensor is handed out: what is overlapping, out of range, misshaped or cut short is an error that
// names the file, the tensor and the numbers. [Write] writes one file, complete or not at all.
//
// The format: https://huggingface.co/docs/safetensors, section "Format".
package safetensors

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is the tensors of one file, or of all the *.safetensors files of a folder. It may be read from several goroutines at once.
// The files must not be cut while it is open: a mapped page that is gone ends the process.
type Set struct {
	path  string
	files []mapped
	where map[string]place
	alias map[string]string // name → the tensor that is there in its place
}

// mapped is one file in memory.
type mapped struct {
	path     string
	data     []byte // the whole file
	metadata map[string]string
}

// place is where a tensor lies: its description, and its bytes within the mapped file.
type place struct {
	info Info
	data []byte
}

// Open maps the file at path, or each *.safetensors file of the folder at path, and checks the headers.
// A tensor's name may be there only once among all files.
func Open(path string) (*Set, error) {
	files := []string{path}
	stat, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if stat.IsDir() {
		if files, err = inFolder(path); err != nil {
			return nil, fmt.Errorf("safetensors: %w", err)
		}
	}
	return OpenFiles(path, files...)
}

// OpenFiles maps files as one set, which errors call path, and checks the headers.
func OpenFiles(path string, files ...string) (*Set, error) {
	set := &Set{path: path, where: make(map[string]place), alias: make(map[string]string)}
	for _, file := range files {
		if err := set.add(file); err != nil {
			return nil, errors.Join(fmt.Errorf("safetensors: %s: %w", file, err), set.Close())
		}
	}
	return set, nil
}

// inFolder lists the safetensors files of a folder by name.
func inFolder(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".safetensors" && !strings.HasPrefix(e.Name(), ".") { // macOS leaves ._ files
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no *.safetensors file in the folder", path)
	}
	return files, nil
}

// add maps one file and takes its tensors in.
func (s *Set) add(path string) error {
	data, err := mapFile(path)
	if err != nil {
		return err
	}
	h, err := parseHeader(data)
	if err != nil {
		return errors.Join(err, unmap(data))
	}
	s.files = append(s.files, mapped{path, data, h.metadata})
	for _, info := range h.tensors {
		if twin, ok := s.where[info.Name]; ok {
			return fmt.Errorf("tensor %q is also in %s", info.Name, twin.info.File)
		}
		info.File = path
		s.where[info.Name] = place{info, data[h.size+info.begin : h.size+info.end : h.size+info.end]}
	}
	for name, stored := range h.metadata {
		if slices.ContainsFunc(h.tensors, func(i Info) bool { return i.Name == stored }) {
			s.alias[name] = stored
		}
	}
	return nil
}

// find is the tensor called name, or the one that was written in its place.
func (s *Set) find(name string) (place, bool) {
	p, ok := s.where[name]
	if !ok {
		p, ok = s.where[s.alias[name]]
	}
	return p, ok
}

// mapFile maps a whole file for reading.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if stat.Size() == 0 {
		return nil, nil // an empty mapping is not allowed; parseHeader says what is wrong
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(stat.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mmap of %d bytes: %w", stat.Size(), err)
	}
	return data, nil
}

func unmap(data []byte) error {
	if data == nil {
		return nil
	}
	return unix.Munmap(data)
}

// Names are the names of all tensors, sorted. The other methods also know a tensor by a name under which a model has it too: where two
// names share their memory, safetensors' save_model writes one of them, and in the metadata the other with that as its value.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.where)) }

// Info describes the tensor called name; false where there is none.
func (s *Set) Info(name string) (Info, bool) {
	p, ok := s.find(name)
	return p.info, ok
}

// Metadata is the free text of all headers; of two files with the same key, the later by name has its way.
func (s *Set) Metadata() map[string]string {
	all := make(map[string]string)
	for _, f := range s.files {
		maps.Copy(all, f.metadata)
	}
	return all
}

// Tensor returns the description and the bytes of the tensor called name. The bytes are the mapped file: read-only, and gone after Close.
func (s *Set) Tensor(name string) (Info, []byte, error) {
	p, ok := s.find(name)
	if !ok {
		return Info{}, nil, fmt.Errorf("safetensors: %s: no tensor %q among the %d there", s.path, name, len(s.where))
	}
	return p.info, p.data, nil
}

// Rows returns the bytes of rows [first, first+n) of the tensor called name, along its first dim, as Tensor does.
// Only what the caller then reads of them is read from the file.
func (s *Set) Rows(name string, first, n int) ([]byte, error) {
	info, data, err := s.Tensor(name)
	if err != nil {
		return nil, err
	}
	if len(info.Shape) == 0 || first < 0 || n < 0 || n > info.Shape[0] || first > info.Shape[0]-n {
		return nil, fmt.Errorf("safetensors: %s: tensor %q of shape %v has no rows [%d, %d)", info.File, name, info.Shape, first, first+n)
	}
	if n == 0 {
		return nil, nil
	}
	row := len(data) / info.Shape[0]
	return data[first*row : (first+n)*row : (first+n)*row], nil
}

// Close unmaps the files; the bytes that the set handed out must not be read any more.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.files {
		if err := unmap(f.data); err != nil {
			errs = append(errs, fmt.Errorf("safetensors: %s: munmap: %w", f.path, err))
		}
	}
	s.files, s.where, s.alias = nil, nil, nil
	return errors.Join(errs...)
}
