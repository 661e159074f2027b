// SPDX-License-Identifier: Apache-2.0

// Package kernels has the functions that run on a GPU: their text, the .cu files of this
// folder, and what NVRTC makes of it, embedded. dev.h says what they may use; the
// folder above calls them. `make images` compiles them anew with the pinned compiler.
//
// Each .cu file is a module of its own. It is there as machine code for several
// architectures, each good for the later chips of its major version, and as PTX for those
// that are not known yet.
package kernels

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

//go:embed *.cu *.h
var sources embed.FS

//go:embed bin
var packed embed.FS

// Sources are the texts, and Digest is what images are made of them.
func Sources() fs.FS { return sources }

// Digest is a hash of all texts.
func Digest() string {
	sum := sha256.New()
	for _, pattern := range []string{"*.cu", "*.h"} {
		names, _ := fs.Glob(sources, pattern) // of a pattern that is right
		for _, name := range names {
			text, err := sources.ReadFile(name)
			if err != nil {
				panic(err) // it is embedded
			}
			fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// Image is a module: machine code, or PTX, which ends with a zero byte.
type Image struct {
	Module  string // such as "cast", of cast.cu
	Target  string // such as "sm_90", or "compute_90" for PTX
	Data    []byte
	Kernels []Kernel
}

// Kernel is what the compiler says of one; of PTX there are only names. Bytes are of a
// thread, but those shared of a block.
type Kernel struct {
	Name                                              string
	Registers, Shared, Stack, SpillStores, SpillLoads int
}

// Manifest is what bin holds.
type Manifest struct {
	Compiler string // such as "NVRTC 13.0.88"
	Digest   string // of the texts
	Images   []Entry
}

// Entry is an image of a manifest.
type Entry struct {
	Image
	Bytes  int
	SHA256 string
}

// ReadManifest reads bin/manifest.txt.
var ReadManifest = sync.OnceValues(func() (Manifest, error) {
	text, err := packed.ReadFile("bin/manifest.txt")
	if err != nil {
		return Manifest{}, fmt.Errorf("kernels: %w", err)
	}
	return ParseManifest(text)
})

// ParseManifest is the inverse of Manifest.Append.
func ParseManifest(text []byte) (m Manifest, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "compiler":
			m.Compiler = rest
		case "digest":
			m.Digest = rest
		case "image":
			var e Entry
			_, err = fmt.Sscan(rest, &e.Module, &e.Target, &e.Bytes, &e.SHA256)
			m.Images = append(m.Images, e)
		case "kernel":
			if len(m.Images) == 0 {
				return m, fmt.Errorf("kernels: line %d of the manifest: a kernel without an image", n)
			}
			e, k := &m.Images[len(m.Images)-1], Kernel{}
			_, err = fmt.Sscan(rest, &k.Name, &k.Registers, &k.Shared, &k.Stack, &k.SpillStores, &k.SpillLoads)
			e.Kernels = append(e.Kernels, k)
		default:
			err = fmt.Errorf("it begins with %q", word)
		}
		if err != nil {
			return m, fmt.Errorf("kernels: line %d of the manifest: %w", n, err)
		}
	}
	return m, nil
}

// Append writes a manifest: lines of a word and its values, an image's kernels behind it.
func (m Manifest) Append(text []byte) []byte {
	text = fmt.Appendf(text, "compiler %s\ndigest %s\n", m.Compiler, m.Digest)
	for _, e := range m.Images {
		text = fmt.Appendf(text, "image %s %s %d %s\n", e.Module, e.Target, e.Bytes, e.SHA256)
		for _, k := range e.Kernels {
			text = fmt.Appendf(text, "kernel %s %d %d %d %d %d\n", k.Name, k.Registers, k.Shared, k.Stack, k.SpillStores, k.SpillLoads)
		}
	}
	return text
}

// Target is the best for a GPU of a compute capability, such as 90: machine code of its
// major version, and otherwise PTX. It is an error below 80.
func (m Manifest) Target(capability int) (string, error) {
	best, number := "", 0
	for _, e := range m.Images {
		var cc int
		if _, err := fmt.Sscanf(e.Target, "sm_%d", &cc); err == nil && cc/10 == capability/10 && cc <= capability && cc > number {
			best, number = e.Target, cc
		}
	}
	if best != "" {
		return best, nil
	}
	return m.PTX(capability)
}

// PTX is the best of it for a compute capability.
func (m Manifest) PTX(capability int) (string, error) {
	best, number := "", 0
	for _, e := range m.Images {
		var cc int
		if _, err := fmt.Sscanf(e.Target, "compute_%d", &cc); err == nil && cc <= capability && cc > number {
			best, number = e.Target, cc
		}
	}
	if best == "" {
		return "", NoImage(capability)
	}
	return best, nil
}

// NoImage is the error of a GPU that there is no image for.
func NoImage(capability int) error {
	return fmt.Errorf("no kernel image for compute capability %d.%d; octet supports 8.0 and newer", capability/10, capability%10)
}

// Images unpacks all modules of a target.
func Images(target string) ([]Image, error) {
	m, err := ReadManifest()
	if err != nil {
		return nil, err
	}
	var found []Image
	var module string
	var mem []byte // what is left of the module's file
	for _, e := range m.Images {
		if e.Module != module {
			if module = e.Module; len(mem) > 0 {
				return nil, fmt.Errorf("kernels: %d bytes behind the images of a module", len(mem))
			}
			if mem, err = unpack(module); err != nil {
				return nil, err
			}
		}
		if len(mem) < e.Bytes {
			return nil, fmt.Errorf("kernels: bin/%s.zst has %d bytes where %s has %d", module, len(mem), e.Target, e.Bytes)
		}
		data := mem[:e.Bytes]
		mem = mem[e.Bytes:]
		if e.Target != target {
			continue
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != e.SHA256 {
			return nil, fmt.Errorf("kernels: %s for %s has the hash %s, the manifest says %s", module, target, got, e.SHA256)
		}
		i := e.Image
		i.Data = slices.Clone(data)
		found = append(found, i)
	}
	if found == nil {
		return nil, fmt.Errorf("kernels: no images for %s", target)
	}
	return found, nil
}

// unpack is the images of a module, for all targets, one behind the other.
func unpack(module string) ([]byte, error) {
	data, err := packed.ReadFile("bin/" + module + ".zst")
	if err != nil {
		return nil, fmt.Errorf("kernels: %w", err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("kernels: %w", err)
	}
	defer d.Close()
	mem, err := d.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("kernels: bin/%s.zst: %w", module, err)
	}
	return mem, nil
}
