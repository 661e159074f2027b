// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

// Command gen compiles the kernels of the folder it is run in and writes bin: the images
// of each module, compressed together, and manifest.txt. It needs NVRTC, of one version,
// which `make images` installs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"octet/device/cuda/kernels"
)

func main() {
	if err := generate("bin"); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// literalName is the file of literal.
const literalName = "reduce_ranks.ptx"

// compiler is the release of the wheel that images are made with.
const compiler = "13.0.88"

func generate(dir string) error {
	n, err := openNVRTC()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(compiler, n.version+".") {
		return fmt.Errorf("this NVRTC is %s, want %s: another release compiles to other bytes", n.version, compiler)
	}
	all, err := build(n, kernels.Sources())
	if err != nil {
		return err
	}
	ptx, err := literal(n)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(simulatedNCCL, literalName), ptx, 0o644); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	m := kernels.Manifest{Compiler: "NVRTC " + compiler, Digest: kernels.Digest()}
	modules := map[string][]byte{}
	for _, c := range all {
		m.Images = append(m.Images, c.Entry)
		modules[c.Module] = append(modules[c.Module], c.Data...)
	}
	for module, mem := range modules {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(1<<23), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, module+".zst"), e.EncodeAll(mem, nil), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "manifest.txt"), m.Append(nil), 0o644)
}
