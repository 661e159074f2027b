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
		flags = append(flags, "-I"+filepath.Join(root, dir))
	}
	made := sha256.New()
	fmt.Fprintln(made, compiler, flags)
	var compiled []string
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
			fmt.Fprintf(made, "%s %x\n", name, sha256.Sum256(text))
			if ext := filepath.Ext(name); ext == ".cc" || ext == ".cu" {
				compiled = append(compiled, name)
			}
		}
	}
	dir := filepath.Join(root, "out", "sim", fmt.Sprintf("%.12x", made.Sum(nil)))
	path := filepath.Join(dir, l.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return path, build(compiler, flags, compiled, path)
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

// build compiles and links beside the path, and moves what it has made there: others
// may build the same.
func build(compiler string, flags, sources []string, path string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(path), "build")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	objects, failed := make([]string, len(sources)), make([]error, len(sources))
	var wait sync.WaitGroup
	turns := make(chan struct{}, runtime.NumCPU())
	for i, name := range sources {
		objects[i] = filepath.Join(tmp, filepath.Base(name)+".o")
		wait.Go(func() {
			turns <- struct{}{}
			failed[i] = run(compiler, append(slices.Clone(flags), "-x", "c++", "-c", name, "-o", objects[i])...)
			<-turns
		})
	}
	wait.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	linked := filepath.Join(tmp, "linked")
	if err := run(compiler, append([]string{"-shared", "-o", linked}, objects...)...); err != nil {
		return err
	}
	return os.Rename(linked, path)
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
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
