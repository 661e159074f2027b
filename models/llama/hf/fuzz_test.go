// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzConfig: any config.json is refused, or is a model that can be built and that octet's own config.json says again.
func FuzzConfig(f *testing.F) {
	for _, name := range []string{"llama3", "tied", "half"} {
		text, err := os.ReadFile(filepath.Join(made(name), ConfigName))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":100,"eos_token_id":[1,2],"rope_theta":1e6}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig(text)
		if err != nil {
			return
		}
		if err := c.Args.Validate(1); err != nil {
			t.Fatalf("%+v: %v", c.Args, err)
		}
		dir := t.TempDir()
		if err := WriteConfig(dir, c); err != nil {
			t.Fatal(err)
		}
		again, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, again); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}
