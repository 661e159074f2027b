// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package api

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// vendor is a folder with NVIDIA's wheels unpacked (`make abi` makes it), below nvidia.
func vendor(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("OCTET_CUDA_WHEELS")
	if folder == "" {
		t.Skip("OCTET_CUDA_WHEELS names no folder with NVIDIA's wheels: make abi")
	}
	return filepath.Join(folder, "nvidia")
}

// compile holds the declarations of a library to the vendor's header; edit changes them first.
func compile(t *testing.T, library string, edit func(string) string) (said string, err error) {
	t.Helper()
	root := vendor(t)
	text, err := os.ReadFile("testdata/abi_" + library + ".c")
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "abi.c")
	if err := os.WriteFile(source, []byte(edit(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-std=c11", "-fsyntax-only", source}
	for _, folder := range []string{"cu13/include", "cu13/include/cccl", "nccl/include", // and in CUDA 12's wheels:
		"cuda_runtime/include", "cuda_nvcc/include", "cuda_cccl/include", "cublas/include"} {
		args = append(args, "-I"+filepath.Join(root, folder))
	}
	out, err := exec.CommandContext(t.Context(), "gcc", args...).CombinedOutput()
	return string(out), err
}

func TestABIHeadersSayWhatTheTableSays(t *testing.T) {
	for _, library := range []string{"cuda", "cublaslt", "nccl"} {
		if said, err := compile(t, library, func(s string) string { return s }); err != nil {
			t.Errorf("%s: %v\n%s", library, err, said)
		}
	}
}

// TestABIAWrongTableIsNoticed: the check has teeth.
func TestABIAWrongTableIsNoticed(t *testing.T) {
	for _, tt := range []struct{ library, old, new, want string }{
		{"cuda", "CUDA_ERROR_ILLEGAL_ADDRESS == 700", "CUDA_ERROR_ILLEGAL_ADDRESS == 701", `"CUDA_ERROR_ILLEGAL_ADDRESS differs"`},
		{"cuda", "(CUdeviceptr *address, size_t bytes)", "(CUdeviceptr *address, unsigned int bytes)", `"cuMemAlloc_v2 differs"`},
		{"cuda", "unsigned int blockDimZ; unsigned int sharedMemBytes; CUstream hStream;", "unsigned int blockDimZ; CUstream hStream; unsigned int sharedMemBytes;", `"CUlaunchConfig.hStream differs"`},
		{"cublaslt", "CUBLASLT_MATMUL_DESC_FAST_ACCUM == 25", "CUBLASLT_MATMUL_DESC_FAST_ACCUM == 24", `"CUBLASLT_MATMUL_DESC_FAST_ACCUM differs"`},
		{"cublaslt", "uint64_t data[8]", "uint64_t data[7]", `"cublasLtMatmulAlgo_t differs"`},
		{"nccl", "int ranks, ncclUniqueId id, int rank", "int ranks, ncclUniqueId *id, int rank", `"ncclCommInitRankConfig differs"`},
		{"nccl", "unsigned int magic; unsigned int version;", "unsigned int magic;", `"ncclConfig_t.blocking differs"`},
	} {
		replaced := false
		said, err := compile(t, tt.library, func(s string) string {
			replaced = strings.Contains(s, tt.old)
			return strings.Replace(s, tt.old, tt.new, 1)
		})
		if !replaced || err == nil || !strings.Contains(said, tt.want) {
			t.Errorf("%s with %q (there: %v): %v %s; want %s", tt.library, tt.new, replaced, err, said, tt.want)
		}
	}
}

// opened opens the vendor's own library, for which no driver is needed: the first of the files that is there.
func opened(t *testing.T, library string, files ...string) Search {
	t.Helper()
	root := vendor(t)
	for _, file := range files {
		path := filepath.Join(root, file)
		if _, err := os.Stat(path); err == nil {
			return searchIn(map[string]string{Variable(library): path})
		}
	}
	t.Fatalf("%s has none of %v", root, files)
	return Search{}
}

func TestABINCCLHasEveryFunction(t *testing.T) {
	l, err := OpenNCCL(opened(t, "nccl", "nccl/lib/libnccl.so.2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Missing()) > 0 || l.Version < 22809 {
		t.Errorf("NCCL %s lacks %v", l.VersionText(), l.Missing())
	}
	for r, want := range map[NCCLResult]string{NCCLSuccess: "no error", NCCLInvalidUsage: "invalid usage", NCCLRemoteError: "remote process exited"} {
		if got := l.GetErrorString(r); !strings.Contains(got, want) {
			t.Errorf("result %d is %q, want %q", r, got, want)
		}
	}
	var id, other [128]byte
	if r := l.GetUniqueId(unsafe.Pointer(&id)); r != NCCLSuccess {
		t.Errorf("ncclGetUniqueId: %d", r)
	}
	if r := l.GetUniqueId(unsafe.Pointer(&other)); r != NCCLSuccess || id == other {
		t.Errorf("a second id: %d, the same: %v", r, id == other)
	}
}

// TestABIDescriptorsKeepWhatIsSet: they are objects of the host, so the vendor's own library
// confirms ids and sizes.
func TestABIDescriptorsKeepWhatIsSet(t *testing.T) {
	l, err := OpenCublasLt(opened(t, "cublaslt", "cu13/lib/libcublasLt.so.13", "cublas/lib/libcublasLt.so.12"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Version < 120000 || len(l.Missing()) > 0 {
		t.Errorf("cuBLASLt %s lacks %v", l.VersionText(), l.Missing())
	}
	if got := l.GetStatusName(CUBLAS_STATUS_NOT_SUPPORTED); got != "CUBLAS_STATUS_NOT_SUPPORTED" {
		t.Errorf("status 15 is %q", got)
	}
	type attribute struct {
		name      string
		id, bytes int
	}
	check := func(of string, set, get func(id int, value unsafe.Pointer, bytes int) Status, all []attribute) {
		for _, a := range all {
			want, got := uint64(a.id+1), uint64(0) // one that no attribute is refused: a small number
			if a.bytes == 1 || strings.Contains(a.name, "MODE") || strings.Contains(a.name, "TRANS") || a.name == "ORDER" {
				want = 1
			}
			if strings.Contains(a.name, "TYPE") {
				want = CUDA_R_16BF
			}
			if a.name == "COMPUTE_TYPE" {
				want = CUBLAS_COMPUTE_32F
			}
			if a.name == "EPILOGUE" {
				want = CUBLASLT_EPILOGUE_BIAS
			}
			if r := set(a.id, unsafe.Pointer(&want), a.bytes); r != CUBLAS_STATUS_SUCCESS {
				t.Errorf("%s %s: set with %d bytes: %d", of, a.name, a.bytes, r)
			}
			if r := get(a.id, unsafe.Pointer(&got), a.bytes); r != CUBLAS_STATUS_SUCCESS || got != want {
				t.Errorf("%s %s: got %d (%d), set %d", of, a.name, got, r, want)
			}
			for _, wrong := range []int{1, 4, 8} {
				if r := set(a.id, unsafe.Pointer(&want), wrong); wrong != a.bytes && r != CUBLAS_STATUS_INVALID_VALUE {
					t.Errorf("%s %s: set with %d bytes for %d: %d, want %d", of, a.name, wrong, a.bytes, r, CUBLAS_STATUS_INVALID_VALUE)
				}
			}
		}
	}
	var written uint64
	var desc, layout, preference uintptr
	for _, r := range []Status{l.MatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), l.MatrixLayoutCreate(&layout, CUDA_R_8F_E4M3, 64, 32, 64), l.MatmulPreferenceCreate(&preference)} {
		if r != CUBLAS_STATUS_SUCCESS {
			t.Fatalf("a descriptor: %d", r)
		}
	}
	check("desc", func(id int, v unsafe.Pointer, n int) Status { return l.MatmulDescSetAttribute(desc, id, v, n) },
		func(id int, v unsafe.Pointer, n int) Status {
			return l.MatmulDescGetAttribute(desc, id, v, n, &written)
		}, []attribute{
			{"COMPUTE_TYPE", CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, 4}, {"TRANSA", CUBLASLT_MATMUL_DESC_TRANSA, 4}, {"TRANSB", CUBLASLT_MATMUL_DESC_TRANSB, 4},
			{"POINTER_MODE", CUBLASLT_MATMUL_DESC_POINTER_MODE, 4}, {"EPILOGUE", CUBLASLT_MATMUL_DESC_EPILOGUE, 4},
			{"BIAS_POINTER", CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8}, {"BIAS_DATA_TYPE", CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, 4},
			{"SM_COUNT_TARGET", CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, 4}, {"FAST_ACCUM", CUBLASLT_MATMUL_DESC_FAST_ACCUM, 1},
			{"A_SCALE_POINTER", CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, 8}, {"B_SCALE_POINTER", CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, 8},
			{"C_SCALE_POINTER", CUBLASLT_MATMUL_DESC_C_SCALE_POINTER, 8}, {"D_SCALE_POINTER", CUBLASLT_MATMUL_DESC_D_SCALE_POINTER, 8},
			{"AMAX_D_POINTER", CUBLASLT_MATMUL_DESC_AMAX_D_POINTER, 8}, {"D_OUT_SCALE_POINTER", CUBLASLT_MATMUL_DESC_D_OUT_SCALE_POINTER, 8},
			{"A_SCALE_MODE", CUBLASLT_MATMUL_DESC_A_SCALE_MODE, 4}, {"B_SCALE_MODE", CUBLASLT_MATMUL_DESC_B_SCALE_MODE, 4},
			{"C_SCALE_MODE", CUBLASLT_MATMUL_DESC_C_SCALE_MODE, 4}, {"D_SCALE_MODE", CUBLASLT_MATMUL_DESC_D_SCALE_MODE, 4},
			{"D_OUT_SCALE_MODE", CUBLASLT_MATMUL_DESC_D_OUT_SCALE_MODE, 4},
		})
	check("layout", func(id int, v unsafe.Pointer, n int) Status { return l.MatrixLayoutSetAttribute(layout, id, v, n) },
		func(id int, v unsafe.Pointer, n int) Status {
			return l.MatrixLayoutGetAttribute(layout, id, v, n, &written)
		}, []attribute{
			{"TYPE", CUBLASLT_MATRIX_LAYOUT_TYPE, 4}, {"ORDER", CUBLASLT_MATRIX_LAYOUT_ORDER, 4}, {"ROWS", CUBLASLT_MATRIX_LAYOUT_ROWS, 8},
			{"COLS", CUBLASLT_MATRIX_LAYOUT_COLS, 8}, {"LD", CUBLASLT_MATRIX_LAYOUT_LD, 8}, {"BATCH_COUNT", CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 4},
			{"STRIDED_BATCH_OFFSET", CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 8},
		})
	check("preference", func(id int, v unsafe.Pointer, n int) Status {
		return l.MatmulPreferenceSetAttribute(preference, id, v, n)
	},
		func(id int, v unsafe.Pointer, n int) Status {
			return l.MatmulPreferenceGetAttribute(preference, id, v, n, &written)
		}, []attribute{
			{"SEARCH_MODE", CUBLASLT_MATMUL_PREF_SEARCH_MODE, 4}, {"MAX_WORKSPACE_BYTES", CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 8},
			{"MIN_ALIGNMENT_A", CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 4}, {"MIN_ALIGNMENT_B", CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 4},
			{"MIN_ALIGNMENT_C", CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 4}, {"MIN_ALIGNMENT_D", CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 4},
			{"MAX_WAVES_COUNT", CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT, 4},
		})
	for _, r := range []Status{l.MatmulDescDestroy(desc), l.MatrixLayoutDestroy(layout), l.MatmulPreferenceDestroy(preference)} {
		if r != CUBLAS_STATUS_SUCCESS {
			t.Errorf("destroying a descriptor: %d", r)
		}
	}
}
