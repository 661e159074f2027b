// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/csv"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/tensor"
	"octet/test/ranks"
)

// quick is one repetition.
var quick = Effort{Time: time.Nanosecond, Repeat: 1}

// tiny are two shapes that no two sizes of are alike.
var tiny = []Shape{{"one", 48, 32, 64}, {"two", 32, 16, 80}}

// measured runs a benchmark and reads back its CSV: a map a row.
func measured(t *testing.T, run func(out Output) error) (rows []map[string]string) {
	t.Helper()
	var text, file bytes.Buffer
	var progress []int
	if err := run(Output{&text, &file, func(done, total int) { progress = append(progress, done, total) }}); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines[1:] {
		row := map[string]string{}
		for j, name := range lines[0] {
			row[name] = line[j]
		}
		rows = append(rows, row)
		if at := 2 * (i + 1); len(progress) > 0 && (progress[at] != i+1 || progress[at+1] != len(lines)-1) {
			t.Errorf("after row %d of %d progress is told of %d/%d", i+1, len(lines)-1, progress[at], progress[at+1])
		}
	}
	if got := strings.Count(text.String(), "\n"); got < len(lines) {
		t.Errorf("%d lines of text for %d rows and their head:\n%s", got, len(rows), &text)
	}
	return rows
}

// number reads a column, which must be finite and above 0.
func number(t *testing.T, row map[string]string, column string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(row[column], 64)
	if err != nil || !(x > 0) || math.IsInf(x, 0) {
		t.Errorf("%s = %q (%v), want a positive number; the row is %v", column, row[column], err, row)
	}
	return x
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*math.Abs(want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func tensorwise(t *testing.T) fp8.Recipe {
	t.Helper()
	r, err := fp8.DefaultConfig().Recipe()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMatMulMeasuresEachProductWithFastAccumulationAndWithout(t *testing.T) {
	rows := measured(t, func(out Output) error {
		return MatMul(t.Context(), out, MatMulOptions{Shapes: tiny, Recipe: tensorwise(t), Effort: quick})
	})
	seen := map[string]int{}
	for _, row := range rows {
		seen[row["name"]+" "+row["product"]+" "+row["fast_accum"]]++
		near(t, "fp8_speedup", number(t, row, "fp8_speedup"), number(t, row, "ref_time_s")/number(t, row, "time_s"))
		ops := 2 * number(t, row, "M") * number(t, row, "K") * number(t, row, "N")
		near(t, "gflops", number(t, row, "gflops"), ops/number(t, row, "time_s")/1e9)
		near(t, "ref_gflops", number(t, row, "ref_gflops"), ops/number(t, row, "ref_time_s")/1e9)
		near(t, "the two peaks' ratio", number(t, row, "pct_top_peak")/number(t, rows[0], "pct_top_peak"), number(t, row, "gflops")/number(t, rows[0], "gflops"))
		number(t, row, "ref_pct_top_peak")
		number(t, row, "f32_gflops")
	}
	if len(rows) != 12 || len(seen) != 12 {
		t.Errorf("rows %v, want 2 shapes × 3 products × 2, each once", seen)
	}
}

func TestLinearMeasuresEachConfigurationBesideBF16(t *testing.T) {
	half := fp8.DefaultConfig()
	half.CastConfigGradOutput.TargetDType = half.CastConfigInput.TargetDType
	half.RoundScalesToPowerOf2 = true
	rows := measured(t, func(out Output) error {
		return Linear(t.Context(), out, LinearOptions{
			Shapes: tiny, Configs: []Config{{"a", fp8.DefaultConfig()}, {"b", half}}, FastAccum: []bool{true, false}, Effort: quick,
		})
	})
	if len(rows) != 8 {
		t.Fatalf("%d rows, want 2 shapes × 2 configurations × 2", len(rows))
	}
	for i, row := range rows {
		shape := tiny[i/4]
		want := map[string]string{
			"name": shape.Name, "M": strconv.Itoa(shape.M), "K": strconv.Itoa(shape.K), "N": strconv.Itoa(shape.N), "shape": shape.String(),
			"scaling_repr": "i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2", "ref_dtype": "bfloat16", "compiled": "false",
			"use_fast_accum": strconv.FormatBool(i%2 == 0), "recipe": string("ab"[i/2%2]),
		}
		for column, value := range want {
			if row[column] != value {
				t.Errorf("row %d: %s = %q, want %q", i, column, row[column], value)
			}
		}
		ref, float8, ops := number(t, row, "ref_time_sec"), number(t, row, "pt_fp8_time_sec"), 3*shape.flops()
		near(t, "pt_fp8_speedup", number(t, row, "pt_fp8_speedup"), ref/float8)
		near(t, "ref_tops_sec", number(t, row, "ref_tops_sec"), ops/ref)
		near(t, "pt_fp8_tops_sec", number(t, row, "pt_fp8_tops_sec"), ops/float8)
		near(t, "one peak for all of bf16", number(t, row, "ref_tops_sec")/number(t, row, "ref_pct_top_peak"), number(t, rows[0], "ref_tops_sec")/number(t, rows[0], "ref_pct_top_peak"))
		near(t, "one peak for all of float8", number(t, row, "pt_fp8_tops_sec")/number(t, row, "pt_fp8_pct_top_peak"), number(t, rows[0], "pt_fp8_tops_sec")/number(t, rows[0], "pt_fp8_pct_top_peak"))
	}
}

// TestALinearIsTrained: what is timed is a whole forward and backward in the recipe, and
// no pass keeps memory.
func TestALinearIsTrained(t *testing.T) {
	c := fp8.DefaultConfig()
	err := onRig(t.Context(), backend.Options{}, func(r *rig) error {
		for _, config := range []*fp8.Float8LinearConfig{nil, &c} {
			counted := &counting{Stream: r.s}
			r.s = counted
			run, err := r.trained(tiny[0], config)
			if err != nil {
				return err
			}
			run()
			live := r.pool.Live()
			counted.products, counted.casts = 0, 0
			run()
			casts := 4 // X, W, dY, and W again in backward
			if config == nil {
				casts = 0
			}
			if counted.products != 3 || counted.casts != casts || r.pool.Live() != live {
				t.Errorf("%d products, %d casts (want 3 and %d), %d bytes in use after a pass, %d after the next", counted.products, counted.casts, casts, live, r.pool.Live())
			}
			r.s = counted.Stream
		}
		return r.s.Sync()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counting counts what a pass does.
type counting struct {
	device.Stream
	products, casts int
}

func (c *counting) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	c.products++
	c.Stream.MatMul(dst, a, b, o)
}

func (c *counting) DynamicCast(dst, dstT, src tensor.Operand, pow2 bool) {
	c.casts++
	c.Stream.DynamicCast(dst, dstT, src, pow2)
}

func TestPaddingMeasuresThreeWays(t *testing.T) {
	shape := Shape{"odd", 33, 15, 17}
	rows := measured(t, func(out Output) error {
		return Padding(t.Context(), out, PaddingOptions{Shapes: []Shape{shape}, Recipe: tensorwise(t), Effort: quick})
	})
	row := rows[0]
	if len(rows) != 1 || row["Shape"] != "33x15x17" || row["Ref Dtype"] != "bfloat16" {
		t.Errorf("rows %v", rows)
	}
	for kind, speedup := range map[string]string{"Ref": "", "Aligned BF16": "Aligned BF16 Speedup", "FP8": "FP8 Speedup"} {
		near(t, kind+" Tops", number(t, row, kind+" Tops"), shape.flops()/number(t, row, kind+" Time"))
		number(t, row, kind+" % Peak")
		if speedup != "" {
			near(t, speedup, number(t, row, speedup), number(t, row, "Ref Time")/number(t, row, kind+" Time"))
		}
	}
}

// TestPaddingChangesNoProduct: zeros add nothing.
func TestPaddingChangesNoProduct(t *testing.T) {
	shape := Shape{"odd", 33, 15, 17}
	err := onRig(t.Context(), backend.Options{}, func(r *rig) error {
		last := &lastProduct{Stream: r.s}
		r.s = last
		recipe := tensorwise(t)
		var values [2][]float32
		for i, run := range []func(){r.multiply(products()[nn.Output], shape, dtype.BFloat16, &recipe), r.padded(shape, 16, recipe)} {
			run()
			wide := r.pool.New(dtype.Float32, shape.M, shape.N)
			r.s.Copy(wide, last.dst)
			values[i] = make([]float32, shape.M*shape.N)
			r.s.Download(device.Float32Bytes(values[i]), wide)
			if err := r.s.Sync(); err != nil {
				return err
			}
		}
		for i, want := range values[0] {
			if values[1][i] != want {
				t.Fatalf("element %d is %v padded, %v as it is", i, values[1][i], want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type lastProduct struct {
	device.Stream
	dst *tensor.Tensor
}

func (l *lastProduct) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	l.dst = dst
	l.Stream.MatMul(dst, a, b, o)
}

// TestTurnsCountAndEnd: each run once without counting, then at most as often as is
// asked for; an end of the context ends it.
func TestTurnsCountAndEnd(t *testing.T) {
	s := ranks.Device(t, ranks.Options{}).NewStream("test")
	var order []int
	runs := []func(){func() { order = append(order, 0); time.Sleep(least) }, func() { order = append(order, 1); time.Sleep(3 * least) }}
	times, err := Effort{Time: time.Hour, Repeat: 2}.inTurns(t.Context(), s, runs...)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(order); got != 6 || order[0] != 0 || order[1] != 1 || order[4] != 0 || order[5] != 1 {
		t.Errorf("ran in the order %v, want in turns, one that does not count and two that do", order)
	}
	if times[0] < least.Seconds() || times[1] < 3*least.Seconds() {
		t.Errorf("times %v are shorter than the sleeps", times)
	}
}

// TestMultiTrainsBothOnAllRanks of every recipe.
func TestMultiTrainsBothOnAllRanks(t *testing.T) {
	configs, err := Configs()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs {
		rows := measured(t, func(out Output) error {
			return Multi(t.Context(), out, MultiOptions{Ranks: 2, Config: c.Float8LinearConfig, Layers: 2, Dim: 32, Batch: 16, Warmup: 1, Steps: 2})
		})
		if len(rows) != 1 {
			t.Fatalf("%s: %d rows", c.Name, len(rows))
		}
		near(t, c.Name+" speedup", number(t, rows[0], "float8 speedup"), number(t, rows[0], "ref_time")/number(t, rows[0], "float8_time"))
	}
}
