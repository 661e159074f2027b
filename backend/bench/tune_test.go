// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/backend"
	"octet/test/ranks"
)

// TestTuneKeepsTheFastest of what a simulated GPU's library has for each product of training, which on another algorithm takes
// another time: its first, a faster and a slower one, and one that does not run.
func TestTuneKeepsTheFastest(t *testing.T) {
	ranks.Simulated(t)
	cache := t.TempDir()
	t.Setenv("SIM_CLOCK", "work")
	t.Setenv("XDG_CACHE_HOME", cache)
	shapes := append([]Shape{{"unaligned", 32, 24, 64}}, tiny...)
	var text bytes.Buffer
	rows := measured(t, func(out Output) error {
		out.Text = io.MultiWriter(out.Text, &text)
		return Tune(t.Context(), out, MatMulOptions{Device: backend.Options{Device: "cuda"}, Shapes: shapes, Recipe: tensorwise(t), Effort: quick})
	})
	if len(rows) != 30 {
		t.Fatalf("%d rows, want 3 shapes × 2 types × (output, two gradients written and added)", len(rows))
	}
	seen, own := map[string]bool{}, 0
	for _, row := range rows {
		seen[row["name"]+row["product"]+row["type"]+row["added"]] = true
		if row["own_kernel"] != "" {
			own++
			if row["name"] != "unaligned" || row["type"] != "float8" || row["algorithms"] != "0" || row["best_us"] != "" {
				t.Errorf("row %v", row)
			}
			continue
		}
		best, first := number(t, row, "best_us"), number(t, row, "first_us")
		near(t, "speedup", number(t, row, "speedup"), first/best)
		if gain := first - best; row["algorithms"] != "4" || !strings.Contains("12", row["best"]) || gain < 32 || gain > 50 {
			t.Errorf("row %v: %v µs are gained, want those of 32 or 48 KiB at 1 GB/s", row, gain)
		}
	}
	if len(seen) != 30 || own != 5 {
		t.Errorf("%d products, %d by octet's own kernel: %v", len(seen), own, rows)
	}
	path := filepath.Join(cache, "octet", "gemm-9.0-130000.bin")
	if _, err := os.Stat(path); err != nil || !strings.HasSuffix(text.String(), "kept in "+path+"\n") {
		t.Errorf("%v; the text ends with %q", err, text.String()[max(0, text.Len()-200):])
	}
}

// TestGradientsLieAsTheDeviceReadsThem: on one that reads float8 of one layout alone all three products are its fast ones.
func TestGradientsLieAsTheDeviceReadsThem(t *testing.T) {
	rows := measured(t, func(out Output) error {
		return MatMul(t.Context(), out, MatMulOptions{Device: backend.Options{Float8TN: true}, Shapes: tiny[:1], Recipe: tensorwise(t), Effort: quick})
	})
	if len(rows) != 6 {
		t.Errorf("%d rows", len(rows))
	}
}
