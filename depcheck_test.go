// SPDX-License-Identifier: Apache-2.0

package octet_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is one line of the import table: folders of the module (each with all
// that is below it, unless a longer entry of the table names that) that share
// a place and the reason for it.
//
// A package may import packages of later rows and of its own folder, and the
// other modules that its row names; nothing else but the standard library.
type row struct {
	folders  []string
	modules  []string // other modules, by prefix of the import path
	cgo      bool     // may contain cgo
	backends bool     // may choose a device and a transport
	reason   string
}

// rows is the import table, from the top of the house to its ground.
var rows = []row{
	{folders: []string{"cmd", "examples", "test", "bench"}, modules: []string{"github.com/", "go.uber.org/zap", "golang.org/x/", "google.golang.org/"},
		reason: "programs put the parts together; nothing imports a program"},
	{folders: []string{"test/sim"}, cgo: true, reason: "the simulated device is C++, which tests open as what it stands in for"},
	{folders: []string{"backend"}, backends: true,
		reason: "the one place that chooses a device and a transport: programs and tests ask it, so that all of them run on any"},
	{folders: []string{"train", "launcher"}, modules: []string{"github.com/hashicorp/go-multierror", "github.com/spf13/pflag", "go.uber.org/zap", "golang.org/x/sys", "google.golang.org/"},
		reason: "the launcher starts any program, and the step loop does not know how its rank was started"},
	{folders: []string{"train/preflight"}, modules: []string{"golang.org/x/sys"}, reason: "what is checked before a run starts knows no step of it, and no launcher"},
	{folders: []string{"models/llama/inference"}, reason: "a model on one device: it converts as a plan does, and shards nothing"},
	{folders: []string{"train/resume"}, reason: "where a run begins is asked before it starts, and by its ranks"},
	{folders: []string{"models/llama/plan"},
		reason: "with parallel, the only place that knows fp8, tp and fsdp together"},
	{folders: []string{"parallel"},
		reason: "with the models' plans, the only place that knows fp8, tp and fsdp together"},
	{folders: []string{"fp8", "tp", "fsdp"},
		reason: "fp8, tp and fsdp compose through Wire, Caster and Layout; any two that import one another stop working alone"},
	{folders: []string{"models/llama/hf"}, reason: "another layout of the same weights: names and sizes, whatever is made of them"},
	{folders: []string{"checkpoint"}, reason: "weights are saved by name and layout, whatever feature sharded them"},
	{folders: []string{"optim"}, reason: "an optimizer sees parameters, not the features that sharded them"},
	{folders: []string{"models/llama"}, reason: "a model is mathematics and names: it knows no parallelism and no float8"},
	{folders: []string{"nn"}, reason: "modules know no feature: features decorate them, and a parameter has its Wire from whichever set one"},
	{folders: []string{"comm/grid"}, reason: "what communicates by layouts: dtensor plans and moves nothing, comm moves and knows no layouts"},
	{folders: []string{"dtensor"}, reason: "layouts are pure functions of shapes and mesh; modules and features build on them"},
	{folders: []string{"nccl"}, cgo: true, reason: "one implementation of comm, chosen by package backend"},
	{folders: []string{"comm"}, modules: []string{"golang.org/x/sys"}, reason: "a collective moves tensors between ranks, whatever they mean"},
	{folders: []string{"device/cpu", "device/cuda"}, modules: []string{"golang.org/x/sys", "github.com/klauspost/compress"}, cgo: true,
		reason: "implementations of device: whoever needs a device takes the interface, package backend opens it"},
	{folders: []string{"data"}, modules: []string{"golang.org/x/sys"}, reason: "text becomes token ids without a peer; a device is known for the target that its kernels ignore"},
	{folders: []string{"data/documents"}, modules: []string{"github.com/klauspost/compress", "github.com/parquet-go/parquet-go"}, reason: "texts out of files, whatever is done with them; gzip and zstd twice as fast as Go's, and the only Parquet for Go that is kept"},
	{folders: []string{"tokenizer"}, modules: []string{"golang.org/x/text"}, reason: "text and ids, useful without the rest; x/text has Unicode's tables of composition"},
	{folders: []string{"device"}, reason: "kernels compute on tensors; a device knows of no other rank"},
	{folders: []string{"device/cuda/api"}, cgo: true, reason: "NVIDIA's libraries as functions: device/cuda and nccl call them"},
	{folders: []string{"device/cuda/topo"}, modules: []string{"github.com/NVIDIA/go-nvml/"}, reason: "how GPUs are connected, for whoever places ranks: NVML knows it, and no CUDA is needed"},
	{folders: []string{"tensor"}, reason: "a noun: shape, dtype, buffer"},
	{folders: []string{"checkpoint/safetensors"}, modules: []string{"golang.org/x/sys"}, reason: "a file format, useful without the rest but the names of element types"},
	{folders: []string{"dtype"}, reason: "a noun: numbers and their rounding"},
	{folders: []string{"metrics/tensorboard"}, modules: []string{"google.golang.org/protobuf"}, reason: "another file of what metrics has; its messages are protobuf's"},
	{folders: []string{"metrics/chart"}, modules: []string{"gonum.org/v1/plot"}, reason: "a picture is drawn from what metrics wrote down"},
	{folders: []string{"metrics"}, modules: []string{"go.uber.org/zap", "golang.org/x/term"},
		reason: "figures come in as numbers, from any program"},
	{folders: []string{"proto"}, modules: []string{"google.golang.org/"}, reason: "messages and their generated code, nothing else"},
	{folders: []string{"launcher/gang"}, modules: []string{"golang.org/x/sys"}, reason: "the launcher's logic as pure state, tested without processes, sockets or time; x/sys has the names of signals"},
	{folders: []string{"comm/store"}, reason: "a protocol as pure state, tested without processes, sockets or time"},
	{folders: []string{"config"}, modules: []string{"github.com/hashicorp/go-multierror", "github.com/pelletier/go-toml"},
		reason: "configuration is read once and validated before anything else of octet runs"},
	{folders: []string{"internal"}, modules: []string{"golang.org/x/sys", "github.com/google/go-cmp", "github.com/hashicorp/go-multierror"}, reason: "helpers of everyone, so they may need no one"},
}

// devices and transports implement device.Device and comm.Comm: all but the row
// that chooses one take the interface. Those called null compute and move nothing, so
// that whoever counts what a run needs may open them.
var (
	devices    = []string{"device/cpu", "device/cuda"}
	transports = []string{"comm/local", "comm/host", "nccl"}
)

// exempt are tests that open a device or a transport themselves; all others
// have test/ranks do it, and so run on the device that OCTET_TEST_DEVICE names.
var exempt = []struct {
	folder string
	open   []string // what they may open
	reason string
}{
	{"comm", transports, "transports are tested as what they are, and recorded; their devices come from test/ranks"},
	{"nccl", append(devices, "comm/local", "comm/host"), "it moves what is on GPUs, simulated ones here"},
	{"test/sim", devices, "the simulated driver is tested through the bindings that call a real one"},
	{"device/devicetest", devices, "the suite is proven on a second device, whose arithmetic is the portable one in another order"},
	{"train", []string{"comm/host"}, "one test is that the transports change no bit of training; its devices come from test/ranks"},
}

// pkg is the part of a `go list -json` record that the checks read.
type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	Doc        string
	Imports    []string
	CgoFiles   []string

	TestImports, XTestImports []string
	TestGoFiles, XTestGoFiles []string
}

const module = "octet"

// place returns the number of the row that holds the package, and the folder
// of the table that it was found by: the longest that matches.
func place(path string) (n int, folder string, ok bool) {
	path = strings.TrimPrefix(path, module+"/")
	for i, r := range rows {
		for _, f := range r.folders {
			if within(path, f) && len(f) > len(folder) {
				n, folder, ok = i, f, true
			}
		}
	}
	return n, folder, ok
}

// within reports whether path is the folder or below it.
func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// ours reports whether an import path is of this module.
func ours(path string) bool { return within(path, module) }

// breaches lists every import that the table forbids, each with the reason of
// the row it breaks.
func breaches(p pkg) []string {
	if p.ImportPath == module {
		return nil // this package: tests only
	}
	n, folder, ok := place(p.ImportPath)
	if !ok {
		return []string{fmt.Sprintf("%s has no place in the import table of depcheck_test.go: give it a row and a reason", p.ImportPath)}
	}
	var found []string
	breach := func(format string, args ...any) {
		found = append(found, fmt.Sprintf("%s %s: %s", p.ImportPath, fmt.Sprintf(format, args...), rows[n].reason))
	}
	if len(p.CgoFiles) > 0 && !rows[n].cgo {
		breach("may not use cgo (%s)", strings.Join(p.CgoFiles, ", "))
	}
	for _, imp := range p.Imports {
		switch {
		case ours(imp):
			m, other, ok := place(imp)
			sameFolder := m == n && other == folder
			if ok && m <= n && !sameFolder {
				breach("may not import %s", imp)
			}
			if (among(devices, imp) || among(transports, imp)) && !rows[n].backends && !sameFolder {
				breach("may not import %s, which package backend chooses", imp)
			}
		case strings.Contains(strings.Split(imp, "/")[0], "."):
			if !slices.ContainsFunc(rows[n].modules, func(m string) bool { return strings.HasPrefix(imp, m) }) {
				breach("may not import the module of %s (its row names %q)", imp, rows[n].modules)
			}
		}
	}
	for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
		_, other, _ := place(imp)
		chosen := among(devices, imp) || among(transports, imp)
		if chosen && other != folder && !rows[n].backends && !isExempt(p.ImportPath, imp) {
			found = append(found, fmt.Sprintf("%s: its tests may not import %s: ranks and devices come from octet/test/ranks, so that tests run on any", p.ImportPath, imp))
		}
	}
	return found
}

// among reports whether path is one of the module's folders or below it; what has a row
// of its own is not below.
func among(folders []string, path string) bool {
	_, own, _ := place(path)
	return !slices.ContainsFunc(folders, func(f string) bool { return within(own, f) && own != f }) && slices.ContainsFunc(folders, func(f string) bool { return within(path, module+"/"+f) })
}

func isExempt(path, imp string) bool {
	for _, e := range exempt {
		if within(path, module+"/"+e.folder) && among(e.open, imp) {
			return true
		}
	}
	return false
}

// list asks the go command for every package of the module, as built with cgo
// or without.
func list(t *testing.T, cgo string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Dir,Doc,Imports,CgoFiles,TestImports,XTestImports,TestGoFiles,XTestGoFiles", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, cgo := range []string{"0", "1"} {
		for _, p := range list(t, cgo) {
			for _, b := range breaches(p) {
				t.Errorf("CGO_ENABLED=%s: %s", cgo, b)
			}
		}
	}
}

func TestTheTableForbids(t *testing.T) {
	tests := []struct {
		name string
		pkg  pkg
		want string // part of the only breach; empty: allowed
	}{
		{"a row below", pkg{ImportPath: "octet/fsdp", Imports: []string{"octet/nn", "octet/comm", "fmt"}}, ""},
		{"its own folder", pkg{ImportPath: "octet/comm/host", Imports: []string{"octet/comm"}}, ""},
		{"a feature imports another", pkg{ImportPath: "octet/fsdp", Imports: []string{"octet/fp8"}}, "stop working alone"},
		{"and the other way round", pkg{ImportPath: "octet/fp8", Imports: []string{"octet/fsdp"}}, "stop working alone"},
		{"the model imports a feature", pkg{ImportPath: "octet/models/llama", Imports: []string{"octet/tp"}}, "knows no parallelism"},
		{"its plan may", pkg{ImportPath: "octet/models/llama/plan", Imports: []string{"octet/fp8", "octet/fsdp", "octet/models/llama"}}, ""},
		{"a module imports a backend", pkg{ImportPath: "octet/nn", Imports: []string{"octet/device/cpu"}}, "which package backend chooses"},
		{"a program too", pkg{ImportPath: "octet/cmd/octet", Imports: []string{"octet/comm/host"}}, "which package backend chooses"},
		{"it chooses", pkg{ImportPath: "octet/backend", Imports: []string{"octet/comm/host", "octet/device/cpu"}}, ""},
		{"a test opens a device", pkg{ImportPath: "octet/nn", XTestImports: []string{"octet/device/cpu"}}, "come from octet/test/ranks"},
		{"a test in the package", pkg{ImportPath: "octet/nn", TestImports: []string{"octet/comm/local"}}, "come from octet/test/ranks"},
		{"a test has ranks", pkg{ImportPath: "octet/nn", TestImports: []string{"octet/test/ranks"}}, ""},
		{"a device's own test", pkg{ImportPath: "octet/device/cpu", XTestImports: []string{"octet/device/cpu"}}, ""},
		{"a transport's own test", pkg{ImportPath: "octet/comm/record", XTestImports: []string{"octet/comm/local"}}, ""},
		{"a transport's test opens a device", pkg{ImportPath: "octet/comm/local", XTestImports: []string{"octet/device/cpu"}}, "come from octet/test/ranks"},
		{"a row above", pkg{ImportPath: "octet/dtensor", Imports: []string{"octet/nn"}}, "pure functions"},
		{"the gang imports a module", pkg{ImportPath: "octet/launcher/gang", Imports: []string{"google.golang.org/grpc"}}, "pure state"},
		{"the agent may", pkg{ImportPath: "octet/launcher/agent", Imports: []string{"google.golang.org/grpc", "octet/launcher/gang"}}, ""},
		{"cgo outside the devices", pkg{ImportPath: "octet/comm/host", CgoFiles: []string{"shm.go"}}, "may not use cgo (shm.go)"},
		{"cgo in a device", pkg{ImportPath: "octet/device/cpu", CgoFiles: []string{"gemm.go"}, Imports: []string{"C"}}, ""},
		{"a new folder", pkg{ImportPath: "octet/moe"}, "has no place in the import table"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := breaches(tt.pkg)
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("breaches = %q, want one with %q", got, tt.want)
			}
		})
	}
}

// TestTheMapOfDESIGNIsTrue: every package is in a row of its first table, and imports
// only what stands behind it there.
func TestTheMapOfDESIGNIsTrue(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	house, _, _ := strings.Cut(string(text), "\n## One data path")
	var folders []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^|]+)` \\|").FindAllStringSubmatch(house, -1) {
		folders = append(folders, strings.Split(m[1], "`, `")...)
	}
	stands := func(path string) int {
		best := -1
		for i, f := range folders {
			if within(path, module+"/"+f) && (best < 0 || len(f) > len(folders[best])) {
				best = i
			}
		}
		return best
	}
	for _, p := range list(t, "1") {
		if p.ImportPath == module {
			continue
		}
		if stands(p.ImportPath) < 0 {
			t.Errorf("%s has no row", p.ImportPath)
		}
		for _, imp := range p.Imports {
			if ours(imp) && stands(imp) < stands(p.ImportPath) {
				t.Errorf("%s imports %s, which stands before it", p.ImportPath, imp)
			}
		}
	}
}
