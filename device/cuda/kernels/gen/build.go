// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"octet/device/cuda/kernels"
)

// targets are what every module is compiled for.
var targets = []string{"sm_80", "sm_89", "sm_90", "sm_100", "sm_120", "compute_80", "compute_90"}

// options are the compiler's. Of the assembler's report the manifest is made.
var options = []string{"--std=c++17", "-default-device", "--fmad=true", "--ptxas-options=-v"}

// compiled is a module for one target.
type compiled struct {
	kernels.Entry
	err error
}

// build compiles all modules of the texts for all targets, in the manifest's order: by
// module, then by target.
func build(n *nvrtcLib, texts fs.FS) ([]compiled, error) {
	modules, err := fs.Glob(texts, "*.cu")
	if err != nil {
		return nil, err
	}
	headers, err := headersOf(texts)
	if err != nil {
		return nil, err
	}
	all := make([]compiled, len(modules)*len(targets))
	var wait sync.WaitGroup
	turns := make(chan struct{}, runtime.NumCPU())
	for i, module := range modules {
		text, err := fs.ReadFile(texts, module)
		if err != nil {
			return nil, err
		}
		for j, target := range targets {
			to := &all[i*len(targets)+j]
			wait.Go(func() {
				turns <- struct{}{}
				to.compile(n, module, string(text), headers, target)
				<-turns
			})
		}
	}
	wait.Wait()
	for _, c := range all {
		if c.err != nil {
			return nil, c.err
		}
	}
	return all, nil
}

func headersOf(texts fs.FS) (map[string]string, error) {
	names, err := fs.Glob(texts, "*.h")
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	for _, h := range names {
		text, err := fs.ReadFile(texts, h)
		if err != nil {
			return nil, err
		}
		headers[h] = string(text)
	}
	return headers, nil
}

// simulatedNCCL is the folder of the simulated libnccl's one kernel, which also runs on a real GPU
// (test/gpucheck): the library includes its PTX as the literal that literal makes.
const simulatedNCCL = "../../../test/sim/nccl/kernels"

func literal(n *nvrtcLib) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(simulatedNCCL, "reduce_ranks.cu"))
	if err != nil {
		return nil, err
	}
	headers, err := headersOf(kernels.Sources())
	if err != nil {
		return nil, err
	}
	var c compiled
	if c.compile(n, "reduce_ranks.cu", string(text), headers, "compute_80"); c.err != nil {
		return nil, c.err
	}
	return slices.Concat([]byte(`R"PTX(`), bytes.TrimRight(c.Data, "\x00"), []byte(")PTX\"\n")), nil
}

func (c *compiled) compile(n *nvrtcLib, file, text string, headers map[string]string, target string) {
	c.Module, c.Target = strings.TrimSuffix(file, ".cu"), target
	var log string
	if c.Data, log, c.err = n.compile(file, text, headers, target, options...); c.err != nil {
		c.err = fmt.Errorf("%w\n%s", c.err, log)
		return
	}
	c.Bytes, c.SHA256 = len(c.Data), fmt.Sprintf("%x", sha256.Sum256(c.Data))
	if strings.HasPrefix(target, "sm_") {
		c.Kernels, c.err = report(log)
		return
	}
	for _, m := range entry.FindAllSubmatch(c.Data, -1) {
		c.Kernels = append(c.Kernels, kernels.Kernel{Name: string(m[1])})
	}
	slices.SortFunc(c.Kernels, byName)
}

func byName(a, b kernels.Kernel) int { return strings.Compare(a.Name, b.Name) }

var (
	entry    = regexp.MustCompile(`(?m)^\.visible \.entry (\w+)\(`)
	function = regexp.MustCompile(`Compiling entry function '(\w+)'`)
	frame    = regexp.MustCompile(`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	used     = regexp.MustCompile(`Used (\d+) registers(?:.*?(\d+) bytes smem)?`)
)

// report reads what the assembler says of each kernel.
func report(log string) (all []kernels.Kernel, err error) {
	number := func(s string) int {
		n, e := strconv.Atoi(s)
		if e != nil && s != "" {
			err = e
		}
		return n
	}
	for line := range strings.Lines(log) {
		if m := function.FindStringSubmatch(line); m != nil {
			all = append(all, kernels.Kernel{Name: m[1]})
			continue
		}
		if len(all) == 0 {
			continue
		}
		k := &all[len(all)-1]
		if m := frame.FindStringSubmatch(line); m != nil {
			k.Stack, k.SpillStores, k.SpillLoads = number(m[1]), number(m[2]), number(m[3])
		}
		if m := used.FindStringSubmatch(line); m != nil {
			k.Registers, k.Shared = number(m[1]), number(m[2])
		}
	}
	slices.SortFunc(all, byName)
	return all, err
}
