// SPDX-License-Identifier: Apache-2.0

package train

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"octet/test/ranks"
)

// digests reads testdata/digests.txt: by configuration, the digest after a number
// of steps, for this Go, whose source is the data, and an instruction set.
func digests(t *testing.T, isa string) map[string]map[int]string {
	t.Helper()
	text, err := os.ReadFile("../testdata/digests.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[int]string{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var version, set, config, digest string
		var steps int
		if _, err := fmt.Sscan(line, &version, &set, &config, &steps, &digest); err != nil {
			t.Fatalf("testdata/digests.txt: %q: %v", line, err)
		}
		if version != runtime.Version() || set != isa {
			continue
		}
		if all[config] == nil {
			all[config] = map[int]string{}
		}
		all[config][steps] = digest
	}
	return all
}

// TestTheREADMEsRunKeepsItsBits: losses and gradient norms of the README's two runs
// are those of before, to the last bit. Ordinarily the first three steps; with
// OCTET_HEAVY all that the table has.
func TestTheREADMEsRunKeepsItsBits(t *testing.T) {
	dev := ranks.Device(t, ranks.Options{})
	isa, _, _ := strings.Cut(strings.TrimPrefix(dev.Name(), "cpu ("), ",") // of another device the table has none
	table := digests(t, isa)
	for _, config := range []string{"debugmodel", "debugmodel_f32"} {
		t.Run(config, func(t *testing.T) {
			want := table[config]
			if len(want) == 0 {
				t.Skipf("testdata/digests.txt has no line for %s on %s", runtime.Version(), dev.Name())
			}
			last := 3
			if os.Getenv("OCTET_HEAVY") != "" {
				for steps := range want {
					last = max(last, steps)
				}
			}
			got := map[int]string{}
			args := []string{"--config=../configs/" + config + ".toml", "--job.dump_folder=" + t.TempDir()}
			for rank, err := range onRanks(t, 2, args, func(rank int, tr *Trainer) error {
				lines := sha256.New()
				for step := 1; step <= last; step++ {
					r, err := tr.Step()
					if err != nil {
						return err
					}
					if rank == 0 {
						numbers, err := json.Marshal([]float64{r.Loss, r.GradNorm})
						if err != nil {
							return err
						}
						fmt.Fprintln(lines, step, strings.ReplaceAll(strings.Trim(string(numbers), "[]"), ",", " "))
						got[step] = fmt.Sprintf("%x", lines.Sum(nil))
					}
				}
				return nil
			}) {
				if err != nil {
					t.Fatalf("rank %d: %v", rank, err)
				}
			}
			for steps := range want {
				if steps <= last && got[steps] != want[steps] {
					t.Errorf("not the same bits as before:\n got %s %s %s %d %s\nwant %s", runtime.Version(), isa, config, steps, got[steps], want[steps])
				}
			}
		})
	}
}
