// SPDX-License-Identifier: Apache-2.0

package api

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Search is where libraries are looked for: the environment, the file system, and the
// Python whose packages may bring them (no Python runs).
type Search struct {
	Getenv func(string) string
	Glob   func(pattern string) ([]string, error)
	Python string // path; "" is none
}

// System is the machine's.
func System() Search {
	python, err := exec.LookPath("python3")
	if err != nil {
		python = ""
	}
	return Search{Getenv: os.Getenv, Glob: filepath.Glob, Python: python}
}

// Variable is the name of the environment variable that says a library's file: then
// that is the only candidate.
func Variable(library string) string {
	return map[string]string{"cuda": "OCTET_CUDA_LIB", "cublaslt": "OCTET_CUBLASLT_LIB", "nccl": "OCTET_NCCL_LIB"}[library]
}

// wheels are the folders below site-packages/nvidia that may have a library.
var wheels = map[string][]string{"cublaslt": {"cu13", "cublas"}, "nccl": {"nccl"}}

// Candidates are the files that may be a library, in the order in which they are tried: the
// variable's; what the loader finds by name; CUDA's folders; Python's packages.
func (s Search) Candidates(library string) []string {
	if path := s.Getenv(Variable(library)); path != "" {
		return []string{path}
	}
	all := slices.Clone(sonames(library))
	var folders []string
	if home := s.Getenv("CUDA_HOME"); home != "" {
		folders = append(folders, filepath.Join(home, "lib64"))
	}
	folders = append(folders, "/usr/local/cuda/lib64")
	if library == "cuda" {
		folders = append(folders, "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib")
	}
	for _, folder := range folders {
		for _, name := range sonames(library) {
			all = append(all, filepath.Join(folder, name))
		}
	}
	for _, packages := range s.sitePackages() {
		for _, wheel := range wheels[library] {
			for _, name := range sonames(library) {
				found, _ := s.Glob(filepath.Join(packages, "nvidia", wheel, "lib", name))
				all = append(all, found...)
			}
		}
	}
	return all
}

// sitePackages are patterns of the folders of Python's packages: the environment's, then
// those of the python3 on PATH.
func (s Search) sitePackages() (patterns []string) {
	below := func(root string) {
		for _, name := range []string{"site-packages", "dist-packages"} {
			patterns = append(patterns, filepath.Join(root, "lib", "python3*", name))
		}
	}
	if env := s.Getenv("VIRTUAL_ENV"); env != "" {
		below(env)
	}
	if s.Python != "" {
		below(filepath.Dir(filepath.Dir(s.Python)))
	}
	return patterns
}
