// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// loadText reads a TOML file with that text, and flags.
func loadText(t *testing.T, text string, args ...string) (*Config, error) {
	t.Helper()
	return Load(append(args, "--config=run.toml"), File{"run.toml", text})
}

// TestForeignKeysAreRefusedOrTold goes through the table: in a file and as a flag, the value that asks for what octet
// does anyway is silent, and any other meets its fate by name.
func TestForeignKeysAreRefusedOrTold(t *testing.T) {
	own := fields(Default())
	for _, f := range foreignKeys() {
		if _, ok := own[f.name]; ok {
			t.Errorf("%s is octet's own", f.name)
		}
		if f.fate == renamed && !newName(own, f.advice) {
			t.Errorf("%s is renamed to %s, which is not octet's", f.name, f.advice)
		}
		name := f.name
		if !strings.Contains(name, ".") {
			name += ".x"
		}
		dot := strings.LastIndex(name, ".")
		for _, value := range []string{f.same, "77"} {
			inFile, err1 := loadText(t, fmt.Sprintf("[%s]\n%s = %q\n", name[:dot], name[dot+1:], value))
			asFlag, err2 := Load([]string{"--" + name + "=" + value})
			silent := value == f.same && name == f.name
			for i, place := range []string{"run.toml:2: ", "command line: "} {
				c, err := []*Config{inFile, asFlag}[i], []error{err1, err2}[i]
				switch {
				case silent || f.fate == told:
					if err != nil {
						t.Errorf("%s%s = %s: %v", place, name, value, err)
					} else if want := place + name + " = " + fmt.Sprintf("%q", value) + " has no effect: " + f.advice; silent != (len(c.Notes) == 0) || !silent && c.Notes[0] != want {
						t.Errorf("%s%s = %s: notes %q", place, name, value, c.Notes)
					}
				case err == nil || !strings.HasPrefix(err.Error(), place+name) || !strings.Contains(err.Error(), f.advice):
					t.Errorf("%s%s = %s: %v, want it refused with %q", place, name, value, err, f.advice)
				}
			}
		}
	}
}

// newName reports whether name is a key or a section of octet's.
func newName(own map[string]field, name string) bool {
	for key := range own {
		if key == name || strings.HasPrefix(key, name+".") {
			return true
		}
	}
	return false
}

func TestForeignFlagsReadAsTorchtitans(t *testing.T) {
	for _, tt := range []struct {
		args, want string // part of the error, or of the notes
	}{
		{"--checkpoint.enable_checkpoint", "checkpoint.enable_checkpoint is now called checkpoint.enable"},
		{"--checkpoint.enable_checkpoint=false", ""},
		{"--checkpoint.initial_load_in_hf_quantized", "checkpoint.initial_load_in_hf_quantized = \"true\": octet reads no quantized weights"},
		{"--compile.enable --training.steps=3", "compile.enable = \"true\" has no effect: octet has no compiler"},
		{"--compile.components model,loss", ""},
		{"--compile.components model", "compile.components = \"model\" has no effect"},
		{"--training.dataloader.num_workers 4", "training.dataloader.num_workers = \"4\" has no effect"},
		{"--checkpoint.interval=7 --checkpoint.interval=500", ""},
		{"--checkpoint.interval=500 --checkpoint.interval=7", "checkpoint.interval = 7 has no effect while checkpoint.enable is false"},
		{"--activation_checkpoint.selective_ac_option=op", "activation_checkpoint.selective_ac_option = \"op\" has no effect while activation_checkpoint.mode is not selective"},
		{"--activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=op", ""},
		{"--activation_checkpoint.early_stop", "activation_checkpoint.early_stop = \"true\" has no effect: octet recomputes with the same kernels"},
		{"--validation.freq=7", "validation.freq = 7 has no effect while validation.enable is false"},
		{"--validation.freq=10", ""},
		{"--validation.dataset=c4_validation", "validation.dataset = \"c4_validation\" has no effect while"},
	} {
		c, err := Load(strings.Fields(tt.args))
		said := fmt.Sprint(err)
		if err == nil {
			if err := c.Validate(2); err != nil {
				t.Errorf("%s: %v", tt.args, err)
			}
			said = strings.Join(slices.DeleteFunc(c.Notes, func(note string) bool { return strings.Contains(note, "warmup") }), "\n")
		}
		if tt.want == "" && said != "" || !strings.Contains(said, tt.want) {
			t.Errorf("%s: %q, want %q", tt.args, said, tt.want)
		}
	}
}

// TestPresetsOfTorchtitan: each preset is refused once, with all there is to change; what is left is valid.
func TestPresetsOfTorchtitan(t *testing.T) {
	for _, tt := range []struct {
		file    string
		refused []string // each with what to write instead
		told    []string
	}{
		{"debug_model.toml",
			[]string{
				`model.hf_assets_path = "./tests/assets/tokenizer": no such file`,
				`training.dataset = "c4_test": must be one of gosource, text, jsonl, parquet, tokens`,
			},
			[]string{"profiling.save_traces_folder", "parallelism.pipeline_parallel_schedule", "checkpoint.interval", "checkpoint.last_save_model_only",
				"quantize.linear.mx.filter_fqns",
				"validation.dataset", "validation.freq", "validation.steps"},
		},
		{"llama3_8b.toml",
			[]string{
				`model.hf_assets_path = "./assets/hf/Llama-3.1-8B"`,
				`training.dataset = "c4": must be one of`,
			},
			[]string{
				"validation.dataset", "validation.freq", "validation.steps"},
		},
		{"llama3_70b.toml",
			[]string{
				"model.hf_assets_path",
				`training.dataset = "c4": must be one of`,
			},
			[]string{
				"validation.dataset", "validation.freq", "validation.steps"},
		},
	} {
		t.Run(tt.file, func(t *testing.T) {
			path := filepath.Join("testdata", "presets", tt.file)
			c, err := Load([]string{"--config", path})
			told := "" // with the error, or to be logged
			if err == nil {
				err, told = c.Validate(8), strings.Join(c.Notes, "\n")
			}
			if err == nil {
				t.Fatal("no error")
			}
			first, rest, _ := strings.Cut(err.Error(), "\n")
			problems, notes, _ := strings.Cut(rest, "\nand, to know:\n")
			notes = cmp.Or(notes, told)
			if want := fmt.Sprintf("%d problems:", len(tt.refused)); first != want {
				t.Errorf("%s, want %s", first, want)
			}
			drop := compare(t, path, strings.Split(problems, "\n"), tt.refused) // lines to leave out
			compare(t, path, strings.Split(notes, "\n"), tt.told)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(text), "\n")
			for _, n := range drop {
				lines[n-1] = ""
			}
			c, err = loadText(t, strings.Join(lines, "\n"))
			if err == nil {
				err = c.Validate(8)
			}
			if err != nil {
				t.Fatalf("with that left out: %v", err)
			}
			if len(c.Notes) < len(tt.told) {
				t.Errorf("notes %q", c.Notes)
			}
		})
	}
}

// compare wants each line to have its place in the file and one of want, and returns the places.
func compare(t *testing.T, path string, lines, want []string) (numbers []int) {
	t.Helper()
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}
	for _, w := range want {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, ": "+w) })
		if i < 0 {
			t.Errorf("no line with %s in\n%s", w, strings.Join(lines, "\n"))
			continue
		}
		place, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(lines[i]), path+":"), ":")
		n, err := strconv.Atoi(place)
		if err != nil {
			t.Fatalf("no place in %s", lines[i])
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// TestEveryKeyOfTorchtitansParallelismIsKnown: octet has it (and TestEveryKeyActs of cmd/octet shows how it acts), or says by its name why it does not. They are those of
// torchtitan's job_config.py while it read TOML, versions 0.1 to 0.2.
func TestEveryKeyOfTorchtitansParallelismIsKnown(t *testing.T) {
	for _, name := range strings.Fields(`data_parallel_replicate_degree data_parallel_shard_degree fsdp_reshard_after_forward tensor_parallel_degree disable_loss_parallel enable_async_tensor_parallel
		enable_compiled_autograd pipeline_parallel_degree pipeline_parallel_split_points module_fqns_per_model_part pipeline_parallel_first_stage_less_layers pipeline_parallel_last_stage_less_layers
		pipeline_parallel_layers_per_stage pipeline_parallel_schedule pipeline_parallel_schedule_csv pipeline_parallel_microbatch_size context_parallel_degree context_parallel_rotate_method
		expert_parallel_degree expert_tensor_parallel_degree`) {
		key := "parallelism." + name
		own := slices.Contains(Keys(), key)
		if known := slices.ContainsFunc(foreignKeys(), func(f foreign) bool { return f.name == key }); known == own {
			t.Errorf("%s: octet's own: %v, in the table of those of others: %v; want one of them", key, own, known)
		}
	}
}
