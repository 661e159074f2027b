// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/config"
)

// Whatever the file and the flags say, Load and Validate answer, and a Config that Load accepts can be written and
// read again.
func FuzzLoad(f *testing.F) {
	f.Add("[training]\nsteps = 1\n", "--optimizer.lr=1\n--debug.print_plan")
	f.Add("training = {steps = 1, steps = 2}\n[[model]]\n\"\" = 1979-05-27\n", "--training.steps\n-1\n--\n--=\n")
	f.Add("[quantize.linear.float8]\nfilter-fqns = [\"a\", 1]\n[a.b.c]\nx.y = 'z'\n", "--model.converters=,a,,\n--no_\n--model.no_")
	f.Add("[training]\nsteps = 99999999999999999999\nmax_norm = inf\n", "--parallelism.data_parallel_replicate_degree=0")
	f.Add("x = [1,\n", "--training.local_batch_size=9223372036854775807\n--training.global_batch_size=7")
	f.Fuzz(func(t *testing.T, toml, lines string) {
		path := filepath.Join(t.TempDir(), "a.toml")
		if err := os.WriteFile(path, []byte(toml), 0o666); err != nil {
			t.Fatal(err)
		}
		args := append(strings.Split(lines, "\n"), "--config="+path)
		c, err := config.Load(args)
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Errorf("config %v, error %q", c, err)
			}
			return
		}
		for world := range 3 {
			_ = c.Validate(world)
		}
		var file strings.Builder
		if err := c.Write(&file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load([]string{"--config", path}); err != nil {
			t.Errorf("%v\n%s", err, &file)
		}
	})
}
