// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

typedef void *program;
typedef struct {
	int (*version)(int *, int *);
	const char *(*error)(int);
	int (*create)(program *, const char *, const char *, int, const char *const *, const char *const *);
	int (*compile)(program, int, const char *const *);
	int (*log_size)(program, size_t *), (*log)(program, char *);
	int (*cubin_size)(program, size_t *), (*cubin)(program, char *);
	int (*ptx_size)(program, size_t *), (*ptx)(program, char *);
	int (*destroy)(program *);
} nvrtc;

static const char *nvrtc_open(nvrtc *n, const char *path, const char *builtins) {
	// The compiler looks for this one by its bare name, which is then open.
	if (!dlopen(builtins, RTLD_NOW | RTLD_GLOBAL)) return dlerror();
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib) return dlerror();
	const struct { void *to; const char *name; } all[] = {
		{&n->version, "nvrtcVersion"}, {&n->error, "nvrtcGetErrorString"}, {&n->create, "nvrtcCreateProgram"}, {&n->compile, "nvrtcCompileProgram"},
		{&n->log_size, "nvrtcGetProgramLogSize"}, {&n->log, "nvrtcGetProgramLog"}, {&n->cubin_size, "nvrtcGetCUBINSize"}, {&n->cubin, "nvrtcGetCUBIN"},
		{&n->ptx_size, "nvrtcGetPTXSize"}, {&n->ptx, "nvrtcGetPTX"}, {&n->destroy, "nvrtcDestroyProgram"}};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (!(*(void **)all[i].to = dlsym(lib, all[i].name))) return dlerror();
	return NULL;
}

static int nvrtc_version(nvrtc *n, int *major, int *minor) { return n->version(major, minor); }
static const char *nvrtc_error(nvrtc *n, int code) { return n->error(code); }
static int nvrtc_create(nvrtc *n, program *p, const char *text, const char *name, int count, char **texts, char **names) {
	return n->create(p, text, name, count, (const char *const *)texts, (const char *const *)names);
}
static int nvrtc_compile(nvrtc *n, program p, int count, char **options) { return n->compile(p, count, (const char *const *)options); }
static int nvrtc_size(nvrtc *n, int what, program p, size_t *size) {
	return what == 0 ? n->log_size(p, size) : what == 1 ? n->cubin_size(p, size) : n->ptx_size(p, size);
}
static int nvrtc_get(nvrtc *n, int what, program p, char *to) {
	return what == 0 ? n->log(p, to) : what == 1 ? n->cubin(p, to) : n->ptx(p, to);
}
static int nvrtc_destroy(nvrtc *n, program *p) { return n->destroy(p); }
*/
import "C"

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"
)

// nvrtcLib is an open libnvrtc: NVIDIA's runtime compiler, which needs no GPU and no driver.
type nvrtcLib struct {
	c       C.nvrtc
	version string // such as "13.0"
}

// nvrtcVariable names the environment's variable for the path of libnvrtc.so.13.
const nvrtcVariable = "OCTET_NVRTC_LIB"

// errNoNVRTC is why there is no compiler.
var errNoNVRTC = errors.New("no NVRTC: set " + nvrtcVariable + " to the path of libnvrtc.so.13, of the wheel nvidia-cuda-nvrtc")

// openNVRTC opens the library that OCTET_NVRTC_LIB names. The file libnvrtc-builtins.so of its
// version lies beside it.
func openNVRTC() (*nvrtcLib, error) {
	path := os.Getenv(nvrtcVariable)
	if path == "" {
		return nil, errNoNVRTC
	}
	beside, err := filepath.Glob(filepath.Join(filepath.Dir(path), "libnvrtc-builtins.so.*"))
	if err != nil || len(beside) != 1 {
		return nil, fmt.Errorf("nvrtc: want one libnvrtc-builtins.so beside %s, there are %d (%w)", path, len(beside), err)
	}
	n := new(nvrtcLib)
	lib, builtins := C.CString(path), C.CString(beside[0])
	defer C.free(unsafe.Pointer(lib))
	defer C.free(unsafe.Pointer(builtins))
	if why := C.nvrtc_open(&n.c, lib, builtins); why != nil {
		return nil, errors.New("nvrtc: " + C.GoString(why))
	}
	var major, minor C.int
	if err := n.failed("nvrtcVersion", C.nvrtc_version(&n.c, &major, &minor)); err != nil {
		return nil, err
	}
	n.version = fmt.Sprintf("%d.%d", major, minor)
	return n, nil
}

func (n *nvrtcLib) failed(call string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("nvrtc: %s: %s", call, C.GoString(C.nvrtc_error(&n.c, code)))
}

// compile compiles the text called name, which may include headers by their names, for a
// target, such as "sm_90", which gives machine code, or "compute_90", which gives PTX. The
// log is what compiler and assembler say.
func (n *nvrtcLib) compile(name, text string, headers map[string]string, target string, options ...string) (image []byte, log string, err error) {
	names := slices.Sorted(maps.Keys(headers))
	texts := make([]string, len(names))
	for i, h := range names {
		texts[i] = headers[h]
	}
	cName, cText := C.CString(name), C.CString(text)
	defer C.free(unsafe.Pointer(cName))
	defer C.free(unsafe.Pointer(cText))
	cNames, freeNames := cStrings(names)
	defer freeNames()
	cTexts, freeTexts := cStrings(texts)
	defer freeTexts()
	cOptions, freeOptions := cStrings(append([]string{"--gpu-architecture=" + target}, options...))
	defer freeOptions()
	var p C.program
	if err := n.failed("nvrtcCreateProgram", C.nvrtc_create(&n.c, &p, cText, cName, C.int(len(names)), cTexts, cNames)); err != nil {
		return nil, "", err
	}
	defer C.nvrtc_destroy(&n.c, &p)
	err = n.failed("nvrtcCompileProgram "+name+" for "+target, C.nvrtc_compile(&n.c, p, C.int(1+len(options)), cOptions))
	said, logErr := n.result(0, p)
	if log = strings.TrimRight(string(said), "\x00"); err != nil || logErr != nil {
		return nil, log, errors.Join(err, logErr)
	}
	what := C.int(1)
	if strings.HasPrefix(target, "compute_") {
		what = 2
	}
	image, err = n.result(what, p)
	return image, log, err
}

// result is one of the compiler's: 0 the log, 1 machine code, 2 PTX.
func (n *nvrtcLib) result(what C.int, p C.program) ([]byte, error) {
	var size C.size_t
	if err := n.failed("the size of a result", C.nvrtc_size(&n.c, what, p, &size)); err != nil || size == 0 {
		return nil, err
	}
	mem := make([]byte, size)
	return mem, n.failed("a result", C.nvrtc_get(&n.c, what, p, (*C.char)(unsafe.Pointer(&mem[0]))))
}

// cStrings is an array of strings of C.
func cStrings(list []string) (array **C.char, free func()) {
	mem := C.calloc(C.size_t(len(list)+1), C.size_t(unsafe.Sizeof(array)))
	all := unsafe.Slice((**C.char)(mem), len(list)+1)
	for i, s := range list {
		all[i] = C.CString(s)
	}
	return (**C.char)(mem), func() {
		for _, s := range all {
			C.free(unsafe.Pointer(s))
		}
		C.free(mem)
	}
}
