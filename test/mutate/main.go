// SPDX-License-Identifier: Apache-2.0

// Command mutate plants bugs in the configuration and in what wires it to the
// parts, and reports those that no test notices. Each bug is one change of one
// place: a key is replaced by its default, a constant is changed, a call is
// dropped, a comparison is turned. A seed decides which; the tree is not
// touched, because the go command overlays the changed file.
//
// With --of gpu the bugs are those of code for GPUs, which the tests on simulated ones are to notice: a wrong stream, memory
// that is freed early, a missing wait, a wrong leading dimension, a swapped scale, a missing group call (gpu.go).
//
//	go run ./test/mutate --seed 1        # sixty bugs, half an hour
//	go run ./test/mutate --seed 1 -n 3 -v
//	go run ./test/mutate --in train/preflight   # of one folder or file
//	go run ./test/mutate --about 'Float8|float8' # of keys by their names
//	go run ./test/mutate --of gpu -n 100 --skip 40 # a hundred of the GPU's, but for the first forty
//
// It ends with exit code 1 if a bug survives.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
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
	tests  []shown
}

// shown are tests of a folder, those that a regular expression names or all.
type shown struct{ folder, run string }

func all(folders ...string) (list []shown) {
	for _, f := range folders {
		list = append(list, shown{folder: f})
	}
	return list
}

func targets() []target {
	return []target{
		{"config", nil, all("config", "models/llama/plan", "cmd/octet")},
		{"models/llama/plan", nil, all("models/llama/plan", "train/preflight", "train", "cmd/octet")},
		{"train/preflight", []string{"preflight.go", "files.go", "memory.go"}, all("train/preflight", "train", "cmd/octet")},
		{"train", []string{"trainer.go", "run.go", "step.go", "saving.go", "resume.go", "validate.go", "casts.go", "export.go"}, all("train", "cmd/octet")},
		{"train/resume", nil, all("train/resume", "train", "cmd/octet")},
		{"comm/agree", nil, all("comm/agree", "cmd/octet")},
		{"cmd/octet", []string{"backend.go", "prepare.go", "train.go", "output.go", "convert.go", "saved.go"}, all("cmd/octet")},
	}
}

func main() {
	seed := pflag.Uint64("seed", 1, "which bugs")
	n := pflag.IntP("number", "n", 60, "how many")
	limit := pflag.Duration("timeout", 5*time.Minute, "for the tests of one package; a bug that makes them hang is noticed")
	verbose := pflag.BoolP("verbose", "v", false, "tell of every bug, and how it was noticed")
	in := pflag.String("in", "", "only bugs in places whose file:line has this in it")
	about := pflag.String("about", "", "only bugs that this regular expression matches, as --list writes them")
	of := pflag.String("of", "config", "bugs of the configuration and its wiring, of code for GPUs, or of its kernels: config, gpu, kernels")
	record := pflag.String("record", "", "append what became of each bug to this file, and do not try those again that it has")
	list := pflag.Bool("list", false, "only list the bugs")
	pflag.Parse()
	wanted, err := regexp.Compile(*about)
	survivors := 0
	if err == nil {
		survivors, err = run(context.Background(), selection{*of, *seed, *n, *in, wanted}, *record, *limit, *verbose, *list)
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
	of    string
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
	tests []shown
}

// draw returns bugs in an order that the seed decides, the operators in turns.
func draw(of string, seed uint64) ([]planned, error) {
	var bugs map[string][]planned
	var names []string
	var err error
	switch of {
	case "config":
		names = operators()
		bugs, err = configBugs()
	case "gpu":
		names = gpuOperators()
		bugs, err = ruledBugs(rules(), watchers)
	case "kernels":
		names = kernelOperators()
		bugs, err = ruledBugs(kernelRules(), kernelWatchers)
	default:
		return nil, fmt.Errorf("--of %q: want config, gpu or kernels", of)
	}
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for _, name := range names {
		list := bugs[name]
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	var all []planned
	for i := 0; ; i++ {
		before := len(all)
		for _, name := range names {
			if i < len(bugs[name]) {
				all = append(all, bugs[name][i])
			}
		}
		if len(all) == before {
			return all, nil
		}
	}
}

func configBugs() (map[string][]planned, error) {
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
	return byOperator, nil
}

func run(ctx context.Context, which selection, record string, limit time.Duration, verbose, list bool) (survivors int, err error) {
	all, err := draw(which.of, which.seed)
	if err != nil {
		return 0, err
	}
	had, err := readRecord(record)
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
		o, recorded := had[p.String()]
		if !recorded {
			if o, err = p.show(ctx, limit); err != nil {
				return survivors, err
			}
			if err := appendRecord(record, p.bug, o); err != nil {
				return survivors, err
			}
		}
		if !o.counts() {
			continue
		}
		tried++
		if o == survived {
			survivors++
		}
		if o == survived || verbose && !recorded {
			fmt.Printf("%3d %s: %s\n", tried, o, p.bug)
		}
	}
	if !list {
		fmt.Printf("seed %d: %d bugs, %d survived\n", which.seed, tried, survivors)
	}
	return survivors, nil
}
