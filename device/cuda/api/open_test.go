// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package api

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// fake builds a library that has the functions of the table but those without, all of which
// return 0, and the definitions of text.
func fake(t *testing.T, library, text string, without ...string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc builds the libraries of this test")
	}
	for _, f := range Functions(library) {
		if !strings.Contains(text, f.Name+"(") && !strings.Contains(strings.Join(without, " "), f.Name) {
			text += fmt.Sprintf("int %s(void) { return 0; }\n", f.Name)
		}
	}
	source, out := filepath.Join(t.TempDir(), "fake.c"), filepath.Join(t.TempDir(), "lib"+library+".so")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-o", out, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

// openOnly opens a library of which there is one candidate.
func openOnly(library, path string) (l *Library, err error) {
	s := searchIn(map[string]string{Variable(library): path})
	switch library {
	case "cuda":
		c, err := OpenCUDA(s)
		if err != nil {
			return nil, err
		}
		return &c.Library, nil
	case "nccl":
		n, err := OpenNCCL(s, nil)
		if err != nil {
			return nil, err
		}
		return &n.Library, nil
	}
	c, err := OpenCublasLt(s, nil)
	if err != nil {
		return nil, err
	}
	return &c.Library, nil
}

func TestALibraryThatIsNotThereSaysWhatWasTried(t *testing.T) {
	for library, want := range map[string]string{
		"cuda":     `cannot open libcuda.so.1 (tried: /none/lib.so: cannot open shared object file: No such file or directory): no NVIDIA driver on this machine; use "cpu", or set OCTET_CUDA_LIB`,
		"cublaslt": "cannot open libcublasLt.so.13 (tried: /none/lib.so: cannot open shared object file: No such file or directory): install the wheel nvidia-cublas, or set OCTET_CUBLASLT_LIB",
		"nccl":     "cannot open libnccl.so.2 (tried: /none/lib.so: cannot open shared object file: No such file or directory): install the wheel nvidia-nccl-cu13, or set OCTET_NCCL_LIB",
	} {
		if _, err := openOnly(library, "/none/lib.so"); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", library, err, want)
		}
	}
}

func TestALibraryThatDoesNotFitSaysWhy(t *testing.T) {
	const driver13, nccl228 = "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }\n", "int ncclGetVersion(int *v) { *v = 22809; return 0; }\n"
	for _, tt := range []struct {
		name, library, text string
		without             []string
		want                string // {} stands for the library's; "": it is taken
	}{
		{"a driver", "cuda", driver13, nil, ""},
		{"an old driver", "cuda", "int cuDriverGetVersion(int *v) { *v = 12040; return 0; }\n", nil, "driver supports CUDA 12.4, octet needs 13.0: driver 580 or newer"},
		{"the toolkit's stub", "cuda", "int cuDriverGetVersion(int *v) { return 34; }\n", nil, "the toolkit's stub libcuda was opened ({}), not the driver's; take it off LD_LIBRARY_PATH"},
		{"a driver that lacks a function", "cuda", driver13, []string{"cuLaunchKernelEx"}, "libcuda.so.1 at {} is 13.0 and lacks cuLaunchKernelEx (since 11.8)"},
		{"NCCL without what is optional", "nccl", nccl228, []string{"ncclCommShrink"}, ""},
		{"old NCCL", "nccl", "int ncclGetVersion(int *v) { *v = 22105; return 0; }\n", nil, "libnccl.so.2 at {} is 2.21.5, octet needs 2.24.3 or newer"},
		{"NCCL that lacks a function", "nccl", "int ncclGetVersion(int *v) { *v = 2105; return 0; }\n", []string{"ncclCommSplit"}, "libnccl.so.2 at {} is 0.21.5 and lacks ncclCommSplit (since 2.18.1)"},
		{"something else", "nccl", "", []string{"nccl"}, "libnccl.so.2 at {} lacks ncclGetVersion (since 2.0)"},
		{"old cuBLASLt", "cublaslt", "unsigned long cublasLtGetVersion(void) { return 110500; }\n", nil, "libcublasLt.so.13 at {} is 11.5.0, octet needs 12.0.0 or newer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			without := tt.without
			if len(without) > 0 && without[0] == "nccl" {
				without = nil
				for _, f := range Functions("nccl") {
					without = append(without, f.Name)
				}
			}
			path := fake(t, tt.library, tt.text, without...)
			l, err := openOnly(tt.library, path)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != strings.ReplaceAll(tt.want, "{}", path)) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			if l.Path != path || len(l.Attempts) != 1 || l.Attempts[0].Failure != "" {
				t.Errorf("opened %+v", l)
			}
			for _, f := range Functions(tt.library) {
				if gone := strings.Contains(strings.Join(tt.without, " "), f.Name); l.Has(f.Name) == gone {
					t.Errorf("Has(%s) = %v", f.Name, !gone)
				}
			}
			if len(l.Missing()) != len(tt.without) {
				t.Errorf("Missing() = %v, want %v", l.Missing(), tt.without)
			}
		})
	}
}

// TestACallEntersItsContext: a thread that has another context gets it first, once.
func TestACallEntersItsContext(t *testing.T) {
	path := fake(t, "cuda", `
static void *now; static int set;
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuCtxSetCurrent(void *c) { if (c == (void *)0x99) return 201; now = c; set++; return 0; }
int cuMemGetInfo_v2(unsigned long *free, unsigned long *total) { *free = (unsigned long)now; *total = set; return 0; }
`)
	l, err := OpenCUDA(searchIn(map[string]string{"OCTET_CUDA_LIB": path}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // a thread of its own, to which nobody returns
		defer close(done)
		runtime.LockOSThread()
		one, two := l.In(0x10), l.In(0x20)
		for i, c := range []struct {
			in   *CUDA
			want [2]uint64 // the context, how often it was set
		}{{one, [2]uint64{0x10, 1}}, {one, [2]uint64{0x10, 1}}, {two, [2]uint64{0x20, 2}}, {l, [2]uint64{0x20, 2}}, {one, [2]uint64{0x10, 3}}} {
			var got [2]uint64
			if r := c.in.MemGetInfo(&got[0], &got[1]); r != CUDA_SUCCESS || got != c.want {
				t.Errorf("call %d: %d, context %#x set %d times; want %#x", i, r, got[0], got[1], c.want)
			}
		}
		if r := l.In(0x99).MemFree(1); r != CUDA_ERROR_INVALID_CONTEXT {
			t.Errorf("a call in a context that cannot be entered returns %d", r)
		}
	}()
	<-done
}

func TestACallAllocatesNothing(t *testing.T) {
	l, err := OpenCUDA(searchIn(map[string]string{"OCTET_CUDA_LIB": fake(t, "cuda", "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }\n")}))
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		var address uint64
		l.MemAlloc(&address, 16)
		l.MemsetD8Async(address, 0, 16, 0)
	})
	if n != 0 {
		t.Errorf("%v allocations in two calls", n)
	}
	var told []string
	l.Trace(func(call string, result int, args ...any) { told = append(told, fmt.Sprint(call, result, args)) })
	l.MemsetD8Async(7, 1, 16, 0)
	if got := strings.Join(told, ";"); got != "cuMemsetD8Async0 [7 1 16 0]" {
		t.Errorf("told of %s", got)
	}
}
