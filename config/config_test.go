// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"octet/config"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// write makes a TOML file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.toml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLineWinsOverFileOverDefault(t *testing.T) {
	path := write(t, `
[training]
steps = 7
seq-len = 64            # a dash is an underscore
max_norm = 2            # an int serves where a float is wanted
[optimizer]
lr = 1e-3
[model]
converters = ["quantize.linear.float8"]
args.rope_theta = 1e4
`)
	c, err := config.Load([]string{"--config", path, "--optimizer.lr=3e-3", "--debug.print-plan", "--model.print_after_conversion", "false", "--model.args.dim", "64",
		"--metrics.no_disable_color_printing", "--quantize.linear.float8.filter_fqns=output,wk",
		"--quantize.linear.float8.emulate=false", "--metrics.disable_color_printing", "true", "--lr_scheduler.min_lr_factor", "0.5"})
	if err != nil {
		t.Fatal(err)
	}
	dim, theta := 64, 1e4
	want := config.Default()
	want.Job.ConfigFile = path
	want.Training.Steps, want.Training.SeqLen, want.Training.MaxNorm = 7, 64, 2
	want.Optimizer.LR, want.LRScheduler.MinLRFactor = 3e-3, 0.5
	want.Debug.PrintPlan, want.Metrics.DisableColorPrinting = true, true
	want.Model.Converters = []string{"quantize.linear.float8"}
	want.Model.Args.Dim, want.Model.Args.RopeTheta = &dim, &theta
	want.Quantize.Linear.Float8.FilterFQNs = []string{"output", "wk"}
	if d := cmp.Diff(want, c, ignore); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// The last of equal flags wins, as scripts that append to a command line expect.
func TestTheLastOfEqualFlagsWins(t *testing.T) {
	path := write(t, "[training]\nsteps = 7\n")
	c, err := config.Load([]string{"--config=nosuch.toml", "--training.steps=1", "--debug.print_plan", "--training.seq-len=1", "--training.seq_len=2",
		"--debug.no_print_plan", "--training.steps", "3", "--job.config_file", path, "--quantize.linear.float8.filter_fqns=a,b", "--quantize.linear.float8.filter_fqns=c"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Training.Steps != 3 || c.Debug.PrintPlan || c.Training.SeqLen != 2 || c.Job.ConfigFile != path || !slices.Equal(c.Quantize.Linear.Float8.FilterFQNs, []string{"c"}) {
		t.Errorf("%+v", c)
	}
}

// What a launcher has read is not read again.
func TestAFileThatWasReadIsTakenAsItWas(t *testing.T) {
	path := write(t, "[training]\nsteps = 7\n")
	c, err := config.Load([]string{"--config", path})
	if err != nil {
		t.Fatal(err)
	}
	file, ok := c.File()
	if want := (config.File{Path: path, Text: "[training]\nsteps = 7\n"}); !ok || file != want {
		t.Errorf("%+v, want %+v", file, want)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load([]string{"--config", path}, config.File{Path: "other.toml", Text: "x"}, file)
	if err != nil || again.Training.Steps != 7 {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := config.Load([]string{"--config", path}, config.File{Path: "other.toml"}); err == nil {
		t.Error("another file's text was taken")
	}
	if c, err := config.Load(nil, file); err != nil || c.Training.Steps != 10000 {
		t.Errorf("without --config: %+v, %v", c, err)
	}
}

var ignore = cmp.Options{cmpopts.IgnoreUnexported(config.Config{}), cmpopts.IgnoreFields(config.Config{}, "Notes"), cmpopts.EquateEmpty()}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestLoadErrors has one line per mistake: what the error must say, all of it.
func TestLoadErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		toml string
		args []string
		want []string
	}{
		{"unknown key", "[training]\nstep = 3\n", nil, []string{":2: unknown key training.step; did you mean training.steps?"}},
		{"right key, wrong section", "[training]\nlr = 3\n", nil, []string{":2: unknown key training.lr; did you mean optimizer.lr?"}},
		{"unknown section", "\n[trainin]\nsteps = 3\nlr = 1\n", nil, []string{":2: unknown section trainin; did you mean training?"}},
		{"old float8 section", "[float8]\nemulate = true\n", nil, []string{":2: float8.emulate is now called quantize.linear.float8.emulate"}},
		{"three of seven letters", "", []string{"--training.dataxyz=1"}, []string{"unknown flag --training.dataxyz; did you mean --training.dataset?"}},
		{"three of six letters", "", []string{"--optimizer.betxyz=1"}, []string{"unknown flag --optimizer.betxyz; `octet train --help` lists them all"}},
		{"two of three letters", "", []string{"--optimizer.exx=1"}, []string{"unknown flag --optimizer.exx; `octet train --help` lists them all"}},
		{"nothing near", "zebra = 3\n", nil, []string{":1: unknown key zebra; `octet train --help` lists them all"}},
		{"unknown flag", "", []string{"--trainig.steps", "3"}, []string{"unknown flag --trainig.steps; did you mean --training.steps?"}},
		{"unknown flags, both", "", []string{"--a.b.c=1", "--configs=x"}, []string{"2 problems:", "unknown flag --a.b.c", "unknown flag --configs; did you mean --config?"}},
		{"wrong type: string", "[optimizer]\nlr = \"fast\"\n", nil, []string{`:2: optimizer.lr: found the string "fast"; want a float`}},
		{"wrong type: float", "[training]\nsteps = 1.5\n", nil, []string{":2: training.steps: found the float 1.5; want an int"}},
		{"wrong type: list", "[training]\nsteps = [1]\n", nil, []string{":2: training.steps: found a list; want an int"}},
		{"wrong type: table", "[training.steps]\nx = 1\n", nil, []string{":1: training.steps: found a table; want an int"}},
		{"wrong type: date", "[job]\ndescription = 2026-01-01\n", nil, []string{":2: job.description: found a date or time (2026-01-01); want a string"}},
		{"wrong element", "[model]\nconverters = [\"a\", 3]\n", nil, []string{":2: model.converters: element 1: found the int 3; want a string"}},
		{"section as value", "training = 3\n", nil, []string{":1: training: found the int 3; want a table"}},
		{"section as array", "[[training]]\nsteps = 3\n", nil, []string{":1: training: found a list; want a table"}},
		{"wrong type: flag", "", []string{"--training.steps=many"}, []string{`--training.steps: "many" is not an int`}},
		{"wrong bool", "", []string{"--debug.print_plan=yes"}, []string{`--debug.print_plan: "yes" is not a bool`}},
		{"no value", "", []string{"--training.steps"}, []string{"--training.steps needs a value: an int"}},
		{"next flag is no value", "", []string{"--training.steps", "--debug.print_plan"}, []string{"--training.steps needs a value: an int"}},
		{"nothing is near", "[debug]\nsync = 1\n[model]\nsize = 3\n[training]\ntop_k = 2\n", nil, []string{":2: unknown key debug.sync; `octet train --help`", ":4: unknown key model.size; `octet", ":6: unknown key training.top_k; `octet"}},
		{"letters that changed places", "[debug]\nsede = 1\n[training]\nstpes = 3\n", nil, []string{":2: unknown key debug.sede; did you mean debug.seed?", "did you mean training.steps?"}},
		{"no_ of what is no bool", "", []string{"--training.no_steps"}, []string{"unknown flag --training.no_steps; did you mean --training.steps?"}},
		{"no_ with value", "", []string{"--debug.no_print_plan=true"}, []string{"unknown flag --debug.no_print_plan; did you mean --debug.print_plan?"}},
		{"positional", "", []string{"train.toml"}, []string{`unexpected argument "train.toml"; a flag is --section.field=value`}},
		{"each of two flags must be right", "", []string{"--training.steps=x", "--training.steps=2"}, []string{`--training.steps: "x" is not an int`}},
		{"empty element", "[model]\nconverters = [\"quantize.linear.float8\", \"\"]\n", nil, []string{":2: model.converters: element 1 is empty"}},
		{"too large for an int", "", []string{"--training.steps=9223372036854775808"}, []string{"--training.steps: \"9223372036854775808\" is out of range: must be from 1 to 1000000000"}},
		{"a file without an end", "", []string{"--config=/dev/zero"}, []string{`--config "/dev/zero": it has more than the 65536 bytes that a configuration may have`}},
		{"key twice", "[training]\nsteps = 1\nseq_len = 2\nsteps = 3\n", nil, []string{":4: training.steps is given twice, first on line 2"}},
		{"key twice, two spellings", "[training]\nseq_len = 1\nseq-len = 2\n", nil, []string{":3: training.seq_len is given twice, first on line 2"}},
		{"key twice, inline", "model = {args = {dim = 1, dim = 2}}\n", nil, []string{":1: model.args.dim is given twice, first on line 1"}},
		{"table twice", "[training]\n[debug]\n[training]\n", nil, []string{"training"}},
		{"syntax", "[training]\nsteps = \n", nil, []string{":2:9: toml:"}},
		{"file names a file", "[job]\nconfig_file = \"b.toml\"\n", nil, []string{":2: job.config_file belongs on the command line"}},
		{"no such file", "", []string{"--config=nosuch.toml"}, []string{`--config "nosuch.toml": no such file`}},
		{"a problem and a note", "", []string{"--compile.enable", "--debug.seed=x"}, []string{"1 problem:\n\t--debug.seed: \"x\" is not an int\nand, to know:\n\tcommand line: compile.enable = \"true\" has no effect"}},
		{"file and flags", "[training]\nsteps = \"1\"\n", []string{"--debug.seed=x"}, []string{"2 problems:", "training.steps", "--debug.seed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args, path := tt.args, ""
			if tt.toml != "" {
				path = write(t, tt.toml)
				args = append(args, "--config="+path)
			}
			_, err := config.Load(args)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if strings.HasPrefix(want, ":") {
					want = path + want
				}
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got\n\t%v\nwant\n\t%s", err, want)
				}
			}
		})
	}
}

func TestNotesTellOfAliasesAndCuts(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, nil},
		{[]string{"--model.converters=float8"}, []string{"model.converters: float8 is now called quantize.linear.float8"}},
		{[]string{"--checkpoint.enable", "--checkpoint.async_mode=async_with_pinned_mem"}, []string{"checkpoint.async_mode: async_with_pinned_mem is async here: the copy is in the rank's own memory"}},
		{[]string{"--training.steps=20"}, []string{"lr_scheduler.warmup_steps = 200 is cut to the 20 steps of the curve"}},
		{[]string{"--training.steps=500", "--profiling.enable_profiling", "--profiling.profile_freq=501"}, []string{"profiling.profile_freq = 501: no trace is written in 500 steps"}},
		{[]string{"--training.steps=500", "--profiling.enable_profiling", "--profiling.profile_freq=500"}, nil},
		{[]string{"--training.steps=20", "--lr_scheduler.total_steps=200"}, nil},
		{[]string{"--training.steps=300", "--lr_scheduler.decay_ratio=0.5"}, []string{"lr_scheduler.decay_ratio = 0.5 of 300 steps reaches into the 200 steps of warmup: it is cut"}},
	} {
		c, err := config.Load(tt.args)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, c.Notes); d != "" {
			t.Errorf("%q: %s", tt.args, d)
		}
	}
	c, err := config.Load([]string{"--model.converters=float8"})
	if err != nil || !c.Float8Enabled() {
		t.Error("the alias does not enable float8", err)
	}
}

func TestHelpIsAskedFor(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		if _, err := config.Load([]string{"--training.steps=many", arg}); !errors.Is(err, config.ErrHelp) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestHelpGolden(t *testing.T) {
	var got bytes.Buffer
	if err := config.Help(&got); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/help.txt"
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(read(t, path), got.String()); d != "" {
		t.Errorf("go test ./config -rewrite; -want +got\n%s", d)
	}
}

func TestWrittenConfigLoadsAgain(t *testing.T) {
	c, err := config.Load([]string{"--training.max_norm=inf", "--model.args.dim=64", "--lr_scheduler.decay_ratio=0.5", "--optimizer.eps=1e-9",
		"--model.args.use_scaled_rope=false", "--model.converters=float8", "--job.description=say \"hi\"\n", "--quantize.linear.float8.filter_fqns="})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := c.Write(&file); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load([]string{"--config", write(t, file.String())})
	if err != nil {
		t.Fatalf("%v\n%s", err, &file)
	}
	again.Job.ConfigFile = ""
	if d := cmp.Diff(c, again, ignore); d != "" {
		t.Errorf("-written +read\n%s\n%s", d, &file)
	}
}

// The files that a newcomer starts from are right as they are.
func TestShippedConfigsAreValid(t *testing.T) {
	paths, err := filepath.Glob("../configs/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		c, err := config.Load([]string{"--config", path})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for world := 1; world <= 4; world++ {
			if err := c.Validate(world); err != nil {
				t.Errorf("world size %d: %v", world, err)
			}
		}
		if len(c.Notes) > 0 {
			t.Errorf("%s: %q", path, c.Notes)
		}
	}
}
