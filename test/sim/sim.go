// SPDX-License-Identifier: Apache-2.0

// Package sim builds the simulated device's shared libraries, for tests and for
// `make sim`: C++ that stands in for a GPU and its libraries, in the folders beside. It
// needs g++; tests that need them skip themselves where there is none, and say so.
package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Library is a shared library of the simulator.
type Library struct {
	Name     string   // such as "libsimkernels.so"
	Sources  []string // patterns of files, from the module's folder on; .cc and .cu are compiled, others included
	Includes []string // folders
}

// Kernels are those of device/cuda/kernels and of the simulated libnccl, compiled for this
// processor; its C interface is emu/registry.h.
func Kernels() Library {
	return Library{
		Name:     "libsimkernels.so",
		Sources:  []string{"test/sim/emu/*.cc", "test/sim/emu/*.h", "device/cuda/kernels/*.cu", "device/cuda/kernels/*.h", "test/sim/nccl/kernels/*.cu"},
		Includes: []string{"test/sim/emu", "device/cuda/kernels"},
	}
}

// ErrNoCompiler is why nothing can be built.
var ErrNoCompiler = errors.New("no g++ on PATH: the simulated device is C++")

// Build compiles a library unless it is there, and returns its path, in the folder
// out/sim of the module. What it was made of names the folder in there.
func Build(l Library) (string, error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", ErrNoCompiler
	}
	root, err := moduleFolder()
	if err != nil {
		return "", err
	}
	flags := append(slices.Clone(flagsOf[runtime.GOARCH]), "-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec", "-Wall", "-Wextra", "-Werror")
	for _, dir := range l.Includes {
		flags = append(flags, "-I"+dir)
	}
	common := sha256.New() // what is included may be by any of them
	fmt.Fprintln(common, compiler, flags)
	var objects []object
	for _, pattern := range l.Sources {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			return "", fmt.Errorf("sim: %s: no files %s (%w)", l.Name, pattern, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			if name, err = filepath.Rel(root, name); err != nil {
				return "", err
			}
			if ext := filepath.Ext(name); ext == ".cc" || ext == ".cu" {
				objects = append(objects, object{source: name, text: text})
			} else {
				fmt.Fprintf(common, "%s %x\n", name, sha256.Sum256(text))
			}
		}
	}
	out, made := filepath.Join(root, "out", "sim"), sha256.New()
	included := common.Sum(nil)
	for i, o := range objects {
		key := sha256.Sum256(fmt.Appendf(nil, "%x %s %s", included, o.source, o.text))
		fmt.Fprintf(made, "%x\n", key)
		objects[i].path = filepath.Join(out, "objects", fmt.Sprintf("%.12x.o", key))
	}
	dir := filepath.Join(out, fmt.Sprintf("%.12x", made.Sum(nil)))
	path := filepath.Join(dir, l.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(filepath.Join(out, "objects"), 0o755)); err != nil {
		return "", err
	}
	return path, build(compiler, root, flags, objects, path)
}

// object is what a source is compiled to; what it was made of names it, so that libraries of almost the same sources share them.
type object struct {
	source string // from the module's folder on
	text   []byte
	path   string
}

// Path is what Build makes, for a test, which is skipped where there is no compiler.
func Path(t testing.TB, l Library) string {
	t.Helper()
	path, err := Build(l)
	if errors.Is(err, ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// flagsOf are a processor's: kernels contract products and sums, as a GPU does.
var flagsOf = map[string][]string{
	"amd64": {"-march=x86-64-v3", "-ffp-contract=fast"},
	"arm64": {"-ffp-contract=fast"},
}

// build compiles what is not there and links, beside the path, and moves what it has made to its place: others
// may build the same.
func build(compiler, root string, flags []string, objects []object, path string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(path), "build")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	paths, failed := make([]string, len(objects)), make([]error, len(objects))
	var wait sync.WaitGroup
	turns := make(chan struct{}, runtime.NumCPU())
	for i, o := range objects {
		paths[i] = o.path
		if _, err := os.Stat(o.path); err == nil {
			continue
		}
		wait.Go(func() {
			turns <- struct{}{}
			made := filepath.Join(tmp, filepath.Base(o.path))
			if failed[i] = run(root, compiler, append(slices.Clone(flags), "-x", "c++", "-c", o.source, "-o", made)...); failed[i] == nil {
				failed[i] = os.Rename(made, o.path)
			}
			<-turns
		})
	}
	wait.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	linked := filepath.Join(tmp, "linked")
	if err := run(root, compiler, append([]string{"-shared", "-o", linked}, paths...)...); err != nil {
		return err
	}
	return os.Rename(linked, path)
}

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("sim: %s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return nil
}

// moduleFolder is the one with go.mod, at or above the working folder.
func moduleFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("sim: not in the folder of a module")
		}
		dir = up
	}
}
