// SPDX-License-Identifier: Apache-2.0

// Command mutate plants bugs in the configuration and in what wires it to the
// parts, and reports those that no test notices. Each bug is one change of one
// place: a key is replaced by its default, a constant is changed, a call is
// dropped, a comparison is turned. A seed decides which; the tree is not
// touched, because the go command overlays the changed file.
//
//	go run ./test/mutate --seed 1        # sixty bugs, half an hour
//	go run ./test/mutate --seed 1 -n 3 -v
//	go run ./test/mutate --in train/preflight   # of one folder or file
//	go run ./test/mutate --about 'Float8|float8' # of keys by their names
//
// It ends with exit code 1 if a bug survives.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// target is a package that bugs are planted in, and the tests that should see
// them, the quickest first.
type target struct {
	folder string
	files  []string // nil: all
	tests  []string // folders
}

func targets() []target {
	return []target{
		{"config", nil, []string{"config", "models/llama/plan", "cmd/octet"}},
		{"models/llama/plan", nil, []string{"models/llama/plan", "train/preflight", "train", "cmd/octet"}},
		{"train/preflight", []string{"preflight.go", "files.go", "memory.go"}, []string{"train/preflight", "train", "cmd/octet"}},
		{"train", []string{"trainer.go", "run.go", "step.go", "saving.go", "resume.go", "validate.go", "casts.go", "export.go"}, []string{"train", "cmd/octet"}},
		{"train/resume", nil, []string{"train/resume", "train", "cmd/octet"}},
		{"comm/agree", nil, []string{"comm/agree", "cmd/octet"}},
		{"cmd/octet", []string{"backend.go", "prepare.go", "train.go", "output.go", "convert.go", "saved.go"}, []string{"cmd/octet"}},
	}
}

func main() {
	seed := pflag.Uint64("seed", 1, "which bugs")
	n := pflag.IntP("number", "n", 60, "how many")
	limit := pflag.Duration("timeout", 5*time.Minute, "for the tests of one package; a bug that makes them hang is noticed")
	verbose := pflag.BoolP("verbose", "v", false, "tell of every bug, and how it was noticed")
	in := pflag.String("in", "", "only bugs in places whose file:line has this in it")
	about := pflag.String("about", "", "only bugs that this regular expression matches, as --list writes them")
	list := pflag.Bool("list", false, "only list the bugs")
	pflag.Parse()
	wanted, err := regexp.Compile(*about)
	survivors := 0
	if err == nil {
		survivors, err = run(context.Background(), selection{*seed, *n, *in, wanted}, *limit, *verbose, *list)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

// selection is which bugs are planted.
type selection struct {
	seed  uint64
	n     int
	in    string
	about *regexp.Regexp
}

func (s selection) has(b bug) bool {
	return strings.Contains(b.where, s.in) && s.about.MatchString(b.String())
}

// planned is a bug and the tests to show it to.
type planned struct {
	bug
	tests []string
}

// draw returns bugs in an order that the seed decides, the operators in turns.
func draw(seed uint64) ([]planned, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	byOperator := map[string][]planned{}
	for _, t := range targets() {
		p, err := load(t.folder)
		if err != nil {
			return nil, err
		}
		for _, b := range p.bugs(t.files) {
			byOperator[b.operator] = append(byOperator[b.operator], planned{b, t.tests})
		}
	}
	for _, name := range operators() {
		bugs := byOperator[name]
		random.Shuffle(len(bugs), func(i, j int) { bugs[i], bugs[j] = bugs[j], bugs[i] })
	}
	var all []planned
	for i := 0; ; i++ {
		before := len(all)
		for _, name := range operators() {
			if i < len(byOperator[name]) {
				all = append(all, byOperator[name][i])
			}
		}
		if len(all) == before {
			return all, nil
		}
	}
}

func run(ctx context.Context, which selection, limit time.Duration, verbose, list bool) (survivors int, err error) {
	all, err := draw(which.seed)
	if err != nil {
		return 0, err
	}
	tried := 0
	for _, p := range all {
		if tried == which.n {
			break
		}
		if !which.has(p.bug) {
			continue
		}
		if list {
			tried++
			fmt.Println(p.bug)
			continue
		}
		by, err := p.show(ctx, limit)
		if errors.Is(err, errDoesNotBuild) {
			continue
		}
		if err != nil {
			return survivors, err
		}
		tried++
		switch {
		case by == "":
			survivors++
			fmt.Printf("SURVIVED %s\n", p.bug)
		case verbose:
			fmt.Printf("%3d noticed by %-18s %s\n", tried, by, p.bug)
		}
	}
	if !list {
		fmt.Printf("seed %d: %d bugs, %d survived\n", which.seed, tried, survivors)
	}
	return survivors, nil
}

var errDoesNotBuild = errors.New("does not build")

// show runs the tests on the bug and returns the package whose tests noticed
// it, "" if none did.
func (p planned) show(ctx context.Context, limit time.Duration) (by string, err error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	table, err := json.Marshal(map[string]map[string]string{"Replace": {p.file: changed}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(changed, p.text, 0o666), os.WriteFile(overlay, table, 0o666)); err != nil {
		return "", err
	}
	for _, folder := range p.tests {
		out, err := exec.CommandContext(ctx, "go", "test", "-short", "-failfast", "-vet=off", "-overlay", overlay,
			"-timeout", limit.String(), "./"+folder).CombinedOutput()
		switch {
		case err == nil:
		case strings.Contains(string(out), "[build failed]"):
			return "", errDoesNotBuild
		case strings.Contains(string(out), "FAIL"):
			return folder, nil
		default:
			return "", fmt.Errorf("go test ./%s: %w\n%s", folder, err, out)
		}
	}
	return "", nil
}
