// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestConsoleLineIsTorchtitans(t *testing.T) {
	record := Record{Step: 1, Loss: 8.137561, GradNorm: 1.41532, StepMS: 500, TokensPerS: 1234567, RSSMB: 1536}
	full := ConsoleOptions{LogFreq: 10, FLOPsPerToken: 71585280, PeakFLOPS: 200e12, MemoryTotal: 16 << 30}
	colored := full
	colored.Color = true
	for _, tt := range []struct {
		name    string
		options ConsoleOptions
		want    string
	}{
		{"full", full, "step:  1  loss:  8.13756  grad_norm:  1.4153  memory:  1.50GiB(9.38%)  tps: 1,234,567  tflops: 88.38  mfu: 44.19%"},
		{"nothing known", ConsoleOptions{LogFreq: 10}, "step:  1  loss:  8.13756  grad_norm:  1.4153  memory:  1.50GiB(N/A)  tps: 1,234,567  tflops: N/A  mfu: N/A"},
		{"coloured", colored, "\x1b[31mstep:  1  \x1b[32mloss:  8.13756  \x1b[38;2;180;60;0mgrad_norm:  1.4153  \x1b[38;2;54;234;195mmemory:  1.50GiB(9.38%)  " +
			"\x1b[34mtps: 1,234,567  \x1b[36mtflops: 88.38  \x1b[35mmfu: 44.19%\x1b[39m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, lines := observer.New(zap.InfoLevel)
			NewConsole(zap.New(core), tt.options).Step(record)
			if got := lines.All()[0].Message; got != tt.want {
				t.Errorf("\ngot  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestConsoleAveragesSpeedSinceTheLastLine(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	c := NewConsole(zap.New(core), ConsoleOptions{LogFreq: 2})
	c.Step(Record{Step: 1, StepMS: 1000, TokensPerS: 10, RSSMB: 4096})
	c.Step(Record{Step: 2, StepMS: 1000, TokensPerS: 100, RSSMB: 1024})
	c.Step(Record{Step: 3, StepMS: 3000, TokensPerS: 100, RSSMB: 2048}) // 300 tokens in 3 s
	c.Step(Record{Step: 4, StepMS: 1000, TokensPerS: 900, RSSMB: 1024}) // 900 tokens in 1 s
	var got []string
	for _, line := range lines.All() {
		words := strings.Fields(line.Message)
		got = append(got, strings.Join([]string{words[1], words[7], words[9]}, " "))
	}
	want := []string{"1 4.00GiB(N/A) 10", "2 1.00GiB(N/A) 100", "4 2.00GiB(N/A) 300"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCommas(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 999.4: "999", 999.6: "1,000", 12345: "12,345", 123456: "123,456", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := commas(x); got != want {
			t.Errorf("commas(%v) = %s, want %s", x, got, want)
		}
	}
}

// On a narrow terminal the least needed figures go first.
func TestConsoleLineFitsTheTerminal(t *testing.T) {
	record := Record{Step: 1, Loss: 8.137561, GradNorm: 1.41532, StepMS: 500, TokensPerS: 1234567, RSSMB: 1536}
	for _, tt := range []struct {
		columns int
		want    string
	}{
		{120, "step:  1  loss:  8.13756  grad_norm:  1.4153  memory:  1.50GiB(N/A)  tps: 1,234,567  tflops: N/A  mfu: N/A"},
		{100, "step:  1  loss:  8.13756  grad_norm:  1.4153  memory:  1.50GiB(N/A)  tps: 1,234,567  mfu: N/A"},
		{79, "step:  1  loss:  8.13756  grad_norm:  1.4153  tps: 1,234,567  mfu: N/A"},
		{45, "step:  1  loss:  8.13756  tps: 1,234,567"},
		{30, "step:  1  loss:  8.13756"},
		{-5, "step:  1"},
	} {
		core, lines := observer.New(zap.InfoLevel)
		NewConsole(zap.New(core), ConsoleOptions{LogFreq: 1, Columns: func() int { return tt.columns }}).Step(record)
		if got := lines.All()[0].Message; got != tt.want {
			t.Errorf("%d columns:\ngot  %q\nwant %q", tt.columns, got, tt.want)
		}
	}
}

// The figures are torchtitan's own for its debug model (sequences of 2048) and for Llama 3.1 8B (of 8192).
func TestFLOPsPerToken(t *testing.T) {
	for _, tt := range []struct {
		m    ModelSize
		want float64
	}{
		{ModelSize{6163712, 2048 * 256, 6, 16, 16, 2048}, 71585280},
		{ModelSize{8030261248, 128256 * 4096, 32, 32, 128, 8192}, 57914449920},
	} {
		if got := FLOPsPerToken(tt.m); got != tt.want {
			t.Errorf("%+v: %.0f, want %.0f", tt.m, got, tt.want)
		}
	}
}

func TestJSONLGivesBackEveryBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	records := []Record{
		{Step: 1, Loss: 0.1, MaxLoss: 0.125, GradNorm: 1.0 / 3, LR: 1e-300, Tokens: 1 << 60, TokensSeen: 1 << 61, StepMS: 12.5, TokensPerS: 1e21, RSSMB: 40, CommBytes: 7},
		{Step: 2, Loss: math.NaN(), GradNorm: math.Inf(1), LR: math.Inf(-1)},
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	j := NewJSONL(file, func(text string) { t.Error(text) })
	for i, r := range records {
		j.Step(r)
		if got, err := Read(path); err != nil || len(got) != i+1 {
			t.Fatalf("after step %d: %d records, %v", i+1, len(got), err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(records, got, cmpopts.EquateNaNs()); d != "" {
		t.Error(d)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"step":1,"loss":0.1,"max_loss":0.125,"grad_norm":0.3333333333333333,"lr":1e-300,"tokens":1152921504606846976,"tokens_seen":2305843009213693952,"step_ms":12.5,"data_ms":0,"tokens_per_s":1e+21,"rss_mb":40,"comm_bytes":7}
{"step":2,"loss":"NaN","max_loss":0,"grad_norm":"Inf","lr":"-Inf","tokens":0,"tokens_seen":0,"step_ms":0,"data_ms":0,"tokens_per_s":0,"rss_mb":0,"comm_bytes":0}
`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Error(d)
	}
	for line := range bytes.Lines(text) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestReadNamesTheBadLine(t *testing.T) {
	good, err := json.Marshal(Record{Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want string }{
		{string(good) + "\n{\"step\":2,\n", ":2: unexpected end of JSON input"},
		{string(good) + "\n{\"step\":2}\n", `:2: key "loss" is missing`},
		{strings.Replace(string(good), `"loss":0`, `"loss":"low"`, 1) + "\n", ":1: loss: "},
		{string(good) + "\n{\"step\":2,\"lo", ""}, // a killed run
	} {
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, []byte(tt.text), 0o666); err != nil {
			t.Fatal(err)
		}
		records, err := Read(path)
		if tt.want == "" {
			if err != nil || len(records) != 1 {
				t.Errorf("%q: %d records, %v", tt.text, len(records), err)
			}
		} else if err == nil || !strings.Contains(err.Error(), path+tt.want) {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

// disk is a file on a disk that has room for so many bytes.
type disk struct {
	room   int
	text   []byte
	closed bool
}

var errFull = errors.New("no space left on device")

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	d.text = append(d.text, p[:n]...)
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func (d *disk) Name() string { return "metrics.jsonl" }
func (d *disk) Sync() error  { return nil }
func (d *disk) Close() error { d.closed = true; return nil }

// A full disk is told once; what was not written waits until there is room.
func TestJSONLGoesOnAfterAFullDisk(t *testing.T) {
	d := &disk{room: 250}
	var said []string
	j := NewJSONL(d, func(text string) { said = append(said, text) })
	for step := range 8 {
		if step == 6 {
			d.room = 1 << 20
		}
		j.Step(Record{Step: step + 1})
	}
	if len(said) != 2 || !strings.Contains(said[0], "no space left") || !strings.Contains(said[1], "written again") {
		t.Errorf("said %q", said)
	}
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, d.text, 0o666); err != nil {
		t.Fatal(err)
	}
	records, err := Read(path)
	if err != nil || len(records) != 8 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, r := range records {
		if r.Step != i+1 {
			t.Errorf("record %d is of step %d", i, r.Step)
		}
	}
	if err := j.Close(); err != nil || !d.closed {
		t.Error(err)
	}
}

func TestJSONLSaysWhatIsLost(t *testing.T) {
	j := NewJSONL(&disk{room: 330}, func(string) {})
	for step := range 4 {
		j.Step(Record{Step: step + 1})
	}
	if err := j.Close(); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "the last 2 steps are not in the file") {
		t.Error(err)
	}
}

// recorder is a Sink that keeps what it gets.
type recorder struct {
	steps []int
	err   error
}

func (r *recorder) Step(record Record) { r.steps = append(r.steps, record.Step) }
func (r *recorder) Close() error       { return r.err }

func TestTeePassesOnAndCollectsErrors(t *testing.T) {
	first, second := &recorder{err: errors.New("disk full")}, &recorder{}
	sink := Tee(first, Tee(), second)
	sink.Step(Record{Step: 3})
	sink.Step(Record{Step: 4})
	if d := cmp.Diff([][]int{{3, 4}, {3, 4}}, [][]int{first.steps, second.steps}); d != "" {
		t.Error(d)
	}
	if err := sink.Close(); !errors.Is(err, first.err) {
		t.Error(err)
	}
	if err := Tee().Close(); err != nil {
		t.Error(err)
	}
}

func TestLoggerLine(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, 3)
	log.Debug("not this")
	log.Warn("careful", zap.Int("steps", 300))
	clock, rest, _ := strings.Cut(out.String(), " ")
	if len(clock) != len("12:34:56.789") || rest != "WARN rank3 careful {\"steps\": 300}\n" {
		t.Errorf("%q", &out)
	}
}

func TestMemoryCountsWhatIsTouched(t *testing.T) {
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = 1
	}
	rss := RSS()
	runtime.KeepAlive(block)
	if size := int64(len(block)); rss < size || rss > 20*size {
		t.Errorf("RSS is %d bytes after touching %d", rss, size)
	}
	if total, free := MachineMemory(), FreeMemory(); total > 0 && (total < rss || free > total || free <= 0) {
		t.Errorf("the machine has %d bytes, %d of them free, this process alone %d", total, free, rss)
	}
}

// A container's limit counts where it is less than the machine's memory, and so
// do those of the groups around it.
func TestMemoryIsWhatTheContainerMayUse(t *testing.T) {
	const gib = 1 << 30
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	machine := file("MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n")
	for _, tt := range []struct {
		name        string
		root        fstest.MapFS
		total, free int64
	}{
		{"nothing known", fstest.MapFS{}, 0, 0},
		{"machine", fstest.MapFS{"proc/meminfo": machine, "proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/memory.max": file("max\n")}, 16 * gib, 8 * gib},
		{"version 2", fstest.MapFS{
			"proc/meminfo": machine, "proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/memory.max": file("4294967296\n"),
			"sys/fs/cgroup/a/memory.current": file("3221225472\n"), "sys/fs/cgroup/a/memory.stat": file("anon 1\ninactive_file 1073741824\n"),
		}, 4 * gib, 2 * gib},
		{"version 1", fstest.MapFS{
			"proc/meminfo": machine, "proc/self/cgroup": file("4:cpu,memory:/host/path\n1:cpu:/\n0::/\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("4294967296\n"),
			"sys/fs/cgroup/memory/memory.usage_in_bytes": file("3221225472\n"), "sys/fs/cgroup/memory/memory.stat": file("total_inactive_file 1073741824\n"),
		}, 4 * gib, 2 * gib},
		{"less is free in the machine", fstest.MapFS{
			"proc/meminfo": machine, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("10737418240\n"), "sys/fs/cgroup/memory.current": file("0\n"),
		}, 10 * gib, 8 * gib},
	} {
		if total, free := memoryOf(tt.root); total != tt.total || free != tt.free {
			t.Errorf("%s: %d, %d free, want %d, %d", tt.name, total, free, tt.total, tt.free)
		}
	}
}
