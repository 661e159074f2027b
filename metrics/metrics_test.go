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
	path := filepath.Join(t.TempDir(), "new", "folder", FileName)
	records := []Record{
		{Step: 1, Loss: 0.1, GradNorm: 1.0 / 3, LR: 1e-300, Tokens: 1 << 60, StepMS: 12.5, TokensPerS: 1e21, RSSMB: 40, CommBytes: 7},
		{Step: 2, Loss: math.NaN(), GradNorm: math.Inf(1), LR: math.Inf(-1)},
	}
	for range 2 { // the second run empties the file of the first
		j, err := CreateJSONL(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range records {
			j.Step(r)
			if got, err := Read(path); err != nil || len(got) != i+1 {
				t.Fatalf("after step %d: %d records, %v", i+1, len(got), err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
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
	const want = `{"step":1,"loss":0.1,"grad_norm":0.3333333333333333,"lr":1e-300,"tokens":1152921504606846976,"step_ms":12.5,"tokens_per_s":1e+21,"rss_mb":40,"comm_bytes":7}
{"step":2,"loss":"NaN","grad_norm":"Inf","lr":"-Inf","tokens":0,"step_ms":0,"tokens_per_s":0,"rss_mb":0,"comm_bytes":0}
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

func TestCreateJSONLNamesThePath(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateJSONL(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
}

func TestJSONLKeepsTheFirstError(t *testing.T) {
	j, err := CreateJSONL(filepath.Join(t.TempDir(), FileName))
	if err != nil {
		t.Fatal(err)
	}
	j.file.Close()
	j.Step(Record{Step: 1})
	if err := j.Close(); !errors.Is(err, os.ErrClosed) {
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

func TestProgressDrawsOnATerminalOnly(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 4, true, false)
	log := NewLogger(p, 0)
	p.Step(Record{Step: 1})
	if !strings.Contains(out.String(), "1/4") {
		t.Errorf("no bar in %q", &out)
	}
	out.Reset()
	log.Info("hello")
	text := out.String()
	if hello, bar := strings.Index(text, "INFO rank0 hello\n"), strings.LastIndex(text, "1/4"); hello < 0 || bar < hello {
		t.Errorf("want the line, then the bar again: %q", text)
	}
	p.Step(Record{Step: 4})
	out.Reset()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	log.Info("done")
	p.Step(Record{Step: 5})
	if strings.Contains(out.String(), "/4") {
		t.Errorf("a bar after Close: %q", &out)
	}

	out.Reset()
	p = NewProgress(&out, 4, false)
	p.Step(Record{Step: 1})
	p.Write([]byte("hello\n"))
	if err := p.Close(); err != nil || out.String() != "hello\n" {
		t.Errorf("no terminal: %q, %v", &out, err)
	}
}

func TestARelayedBarEndsInACarriageReturn(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, 4, true)
	p.Step(Record{Step: 1})
	p.Write([]byte("hello\n"))
	bar, rest, ok := strings.Cut(out.String(), "\r")
	if !ok || !strings.Contains(bar, "1/4") || rest != "hello\n" {
		t.Errorf("want a bar, a carriage return, and the line as it is: %q", &out)
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
	if total := MachineMemory(); total > 0 && total < rss {
		t.Errorf("the machine has %d bytes, this process alone %d", total, rss)
	}
}
