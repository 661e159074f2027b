// SPDX-License-Identifier: Apache-2.0

package api

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// searchIn is a machine that has an environment and files.
func searchIn(environ map[string]string, files ...string) Search {
	return Search{
		Getenv: func(name string) string { return environ[name] },
		Glob: func(pattern string) (found []string, err error) {
			for _, f := range files {
				if ok, _ := filepath.Match(pattern, f); ok {
					found = append(found, f)
				}
			}
			return found, nil
		},
		Python: "/opt/py/bin/python3",
	}
}

func TestCandidatesComeInTheirOrder(t *testing.T) {
	const wheel = "/lib/python3.12/site-packages/nvidia/"
	files := []string{"/opt/py" + wheel + "cublas/lib/libcublasLt.so.12", "/venv" + wheel + "cu13/lib/libcublasLt.so.13", "/venv" + wheel + "nccl/lib/libnccl.so.2", "/venv/bin/python3"}
	for _, tt := range []struct {
		library string
		environ map[string]string
		want    []string
	}{
		{"cuda", nil, []string{"libcuda.so.1", "/usr/local/cuda/lib64/libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"}},
		{"cuda", map[string]string{"OCTET_CUDA_LIB": "/a/libcuda.so", "CUDA_HOME": "/cuda"}, []string{"/a/libcuda.so"}},
		{"nccl", map[string]string{"VIRTUAL_ENV": "/venv", "CUDA_HOME": "/cuda"},
			[]string{"libnccl.so.2", "/cuda/lib64/libnccl.so.2", "/usr/local/cuda/lib64/libnccl.so.2", "/venv" + wheel + "nccl/lib/libnccl.so.2"}},
		{"cublaslt", map[string]string{"VIRTUAL_ENV": "/venv"},
			[]string{"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.12",
				"/venv" + wheel + "cu13/lib/libcublasLt.so.13", "/opt/py" + wheel + "cublas/lib/libcublasLt.so.12"}},
	} {
		if diff := cmp.Diff(tt.want, searchIn(tt.environ, files...).Candidates(tt.library)); diff != "" {
			t.Errorf("%s with %v:\n%s", tt.library, tt.environ, diff)
		}
	}
}

func TestVersionsReadAsTheirVendorWritesThem(t *testing.T) {
	for _, tt := range []struct {
		library string
		version int
		want    string
	}{{"cuda", 12040, "12.4"}, {"cuda", 13000, "13.0"}, {"cublaslt", 130102, "13.1.2"}, {"nccl", 22809, "2.28.9"}} {
		if got := versionText(tt.library, tt.version); got != tt.want {
			t.Errorf("%s %d is %q, want %q", tt.library, tt.version, got, tt.want)
		}
	}
}

func TestTheTableNamesEveryFunctionOnce(t *testing.T) {
	for library, of := range map[string]string{"cuda": "cu", "cublaslt": "cublasLt", "nccl": "nccl"} {
		var names []string
		for _, f := range Functions(library) {
			names = append(names, f.Name)
			if !strings.HasPrefix(f.Name, of) || f.Since == "" {
				t.Errorf("%s: %+v", library, f)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s names a function twice", library)
		}
	}
}
