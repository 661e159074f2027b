// SPDX-License-Identifier: Apache-2.0

//go:build cgo

// Package control asks the simulated driver what a test wants to know of it and a real one
// could not say: races and other findings, and how often things happened.
//
//	c := control.Watch(t, sim.Path(t, sim.Driver()))
//	… work on devices of that library …
//	c.Count("host waits")
package control

/*
#cgo CFLAGS: -I${SRCDIR}/../driver
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include "sim.h"

typedef struct {
	size_t (*findings)(char *, size_t);
	uint64_t (*count)(const char *);
	void (*reset)(void);
	void (*name)(void *, const char *);
} control;

static const char *control_open(control *c, const char *path) {
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib) return dlerror();
	const struct { void *to; const char *name; } all[] = {
		{&c->findings, "sim_findings"}, {&c->count, "sim_count"}, {&c->reset, "sim_reset"}, {&c->name, "sim_name"}};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (!(*(void **)all[i].to = dlsym(lib, all[i].name))) return dlerror();
	return NULL;
}
static size_t control_findings(const control *c, char *text, size_t n) { return c->findings(text, n); }
static uint64_t control_count(const control *c, const char *what) { return c->count(what); }
static void control_reset(const control *c) { c->reset(); }
static void control_name(const control *c, uintptr_t stream, const char *name) { c->name((void *)stream, name); }
*/
import "C"

import (
	"errors"
	"strings"
	"testing"
	"unsafe"
)

// Driver is the simulated driver of this process.
type Driver struct{ c C.control }

// Open opens what sim.Build has made of sim.Driver; it is the same library that whoever
// else opens the path has.
func Open(path string) (*Driver, error) {
	d := new(Driver)
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if why := C.control_open(&d.c, name); why != nil {
		return nil, errors.New("control: " + C.GoString(why))
	}
	return d, nil
}

// Watch is Open for a test: the driver forgets what was before, and the test fails for
// what is found wrong until its end.
func Watch(t testing.TB, path string) *Driver {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	d.Reset()
	t.Cleanup(func() {
		for _, f := range d.Findings() {
			t.Errorf("found: %s", f)
		}
	})
	return d
}

// Findings are what was found wrong since the last Reset.
func (d *Driver) Findings() []string {
	n := C.control_findings(&d.c, nil, 0)
	if n == 0 {
		return nil
	}
	text := make([]byte, n+1)
	C.control_findings(&d.c, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)))
	return strings.Split(strings.TrimRight(string(text), "\n\x00"), "\n")
}

// Count is how often something happened since the last Reset; see driver/sim.h.
func (d *Driver) Count(what string) int {
	c := C.CString(what)
	defer C.free(unsafe.Pointer(c))
	return int(C.control_count(&d.c, c))
}

// Reset forgets findings and counts.
func (d *Driver) Reset() { C.control_reset(&d.c) }

// Name has findings call a stream, a CUstream, by a name.
func (d *Driver) Name(stream uintptr, name string) {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	C.control_name(&d.c, C.uintptr_t(stream), c)
}
