// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"octet/test/sim"
)

// simulatedNCCL is the bundle's own libnccl, which stands on any driver and has ranks share a GPU.
const simulatedNCCL = "libnccl-octet.so.2"

// tested are the packages whose tests are in a bundle.
func tested() []string {
	return []string{"device/cuda", "nccl", "fp8", "fsdp", "test/multigpu"}
}

// data are files and folders of the module that tests and peers read, beside the testdata of those tested.
func data() []string {
	return []string{"go.mod", "testdata", "bench/peers/model.py", "test/gpucheck/peer.py"}
}

// mostBytes is what is carried to a GPU host at most, and newestGlibc the release that programs may need.
const (
	mostBytes   = 64 << 20
	newestGlibc = "GLIBC_2.34"
)

func bundleProgram(args []string) error {
	flags := pflag.NewFlagSet("gpucheck bundle", pflag.ContinueOnError)
	out := flags.StringP("out", "o", filepath.Join("out", "gpucheck.tar.gz"), "the archive")
	if err := flags.Parse(args); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "gpucheck")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := fill(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	bytes, err := pack(*out, folder)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MiB\n", *out, float64(bytes)/(1<<20))
	if bytes > mostBytes {
		return fmt.Errorf("%s has %d bytes; more than %d are not carried", *out, bytes, mostBytes)
	}
	return nil
}

// fill makes a bundle in a folder, from the module in the working folder.
func fill(folder string) error {
	bin, tree, lib := filepath.Join(folder, "bin"), filepath.Join(folder, "tree"), filepath.Join(folder, "lib")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.MkdirAll(tree, 0o755), os.MkdirAll(lib, 0o755)); err != nil {
		return err
	}
	small := []string{"-trimpath", "-ldflags=-s -w"}
	if err := goTool("1", append([]string{"build", "-o", bin}, append(small, "./cmd/octet")...)); err != nil {
		return err
	}
	if err := goTool("0", append([]string{"build", "-o", bin}, append(small, "./test/gpucheck")...)); err != nil {
		return err
	}
	for _, p := range tested() {
		path := filepath.Join(bin, testName(p))
		if err := goTool("1", append([]string{"test", "-c", "-o", path}, append(small, "./"+p)...)); err != nil {
			return err
		}
		if err := errors.Join(os.MkdirAll(filepath.Join(tree, p), 0o755), copyAll(tree, filepath.Join(p, "testdata"))); err != nil {
			return err
		}
	}
	for _, name := range data() {
		if err := copyAll(tree, name); err != nil {
			return err
		}
	}
	path, err := sim.Build(sim.NCCL())
	if err != nil {
		return err
	}
	if err := errors.Join(copyFile(filepath.Join(lib, simulatedNCCL), path, 0o755),
		copyFile(filepath.Join(folder, "check.sh"), filepath.Join("test", "gpucheck", "check.sh"), 0o755)); err != nil {
		return err
	}
	return old(bin, lib)
}

// goTool runs the go command with cgo or without.
func goTool(cgo string, args []string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// copyAll copies a file or a folder of the module into tree; one that is not there is left out.
func copyAll(tree, name string) error {
	err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(tree, path), 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, path)), 0o755); err != nil {
			return err
		}
		return copyFile(filepath.Join(tree, path), path, 0o644)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func copyFile(to, from string, mode fs.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, mode)
}

// old refuses programs and libraries that need a newer glibc than a GPU host may have.
func old(folders ...string) error {
	for _, folder := range folders {
		list, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range list {
			path := filepath.Join(folder, e.Name())
			f, err := elf.Open(path)
			if err != nil {
				return err
			}
			symbols, err := f.ImportedSymbols()
			f.Close()
			if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
				return fmt.Errorf("%s: %w", path, err)
			}
			for _, s := range symbols {
				if strings.HasPrefix(s.Version, "GLIBC_") && newer(s.Version, newestGlibc) {
					return fmt.Errorf("%s needs %s of %s; a GPU host may have no more than %s", path, s.Name, s.Version, newestGlibc)
				}
			}
		}
	}
	return nil
}

// newer compares versions such as GLIBC_2.34 number by number.
func newer(a, b string) bool {
	numbers := func(s string) (list []int) {
		for part := range strings.SplitSeq(strings.TrimPrefix(s, "GLIBC_"), ".") {
			n := 0
			fmt.Sscan(part, &n) //nolint:errcheck // what is no number is 0
			list = append(list, n)
		}
		return list
	}
	return slices.Compare(numbers(a), numbers(b)) > 0
}

// pack makes a compressed archive of a folder, all in one named gpucheck.
func pack(path, folder string) (bytes int64, err error) {
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	zip := gzip.NewWriter(file)
	archive := tar.NewWriter(zip)
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		below, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		header.Name = filepath.Join("gpucheck", below)
		header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
		if err := archive.WriteHeader(header); err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		_, err = archive.Write(text)
		return err
	})
	if err := errors.Join(err, archive.Close(), zip.Close()); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), file.Close()
}
