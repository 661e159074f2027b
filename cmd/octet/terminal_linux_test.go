// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal of that many columns: the side of the
// screen, and that of the program.
func openTerminal(t *testing.T, columns int) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: uint16(columns)})
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	return screen, program
}

// lines are what a terminal shows after text, without colours. It knows what
// octet writes: carriage returns, ends of lines, and erasing to a line's end.
func lines(t *testing.T, text string) []string {
	t.Helper()
	text = colour.ReplaceAllString(text, "")
	shown, at := [][]rune{nil}, 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		line := &shown[len(shown)-1]
		switch {
		case strings.HasPrefix(text[i:], "\x1b[K"):
			*line, size = (*line)[:min(at, len(*line))], 3
		case r == '\x1b':
			t.Fatalf("unknown escape: %q", text[i:min(len(text), i+10)])
		case r == '\r':
			at = 0
		case r == '\n':
			shown, at = append(shown, nil), 0
		default:
			if at < len(*line) {
				(*line)[at] = r
			} else {
				*line = append(*line, r)
			}
			at++
		}
		i += size
	}
	var all []string
	for _, line := range shown[:len(shown)-1] {
		all = append(all, string(line))
	}
	return all
}

// ofAStep finds the bar and the lines of figures.
var ofAStep = regexp.MustCompile(`step:? +\d+[ /]`)

var colour = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// TestARunOnATerminal ends with a full bar and a line that says where the results
// are; no line is longer than the terminal is wide, and figures are coloured.
func TestARunOnATerminal(t *testing.T) {
	tokens, err := filepath.Abs(goldenDir + "llama_tokens.u16")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		columns int
		command string
		figures string // of the last line of them, at the least
		mark    string
	}{
		{80, "run --nproc-per-node 2 train", "step loss", "[default0]:"},
		{140, "run --nproc-per-node 2 train", "step loss grad_norm memory tps mfu", "[default0]:"},
		{80, "train", "step loss tps", ""},
		{140, "train", "step loss grad_norm memory tps tflops mfu", ""},
	} {
		t.Run(fmt.Sprintf("%s at %d columns", strings.Fields(tt.command)[0], tt.columns), func(t *testing.T) {
			t.Parallel()
			screen, program := openTerminal(t, tt.columns)
			p := octetProcess(t, append(strings.Fields(tt.command), strings.Fields(`--training.dataset=tokens --training.dataset_path=`+tokens+` --model.args.dim=32 --model.args.n_layers=1
				--model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.vocab_size=256 --training.seq_len=32 --training.local_batch_size=2 --training.steps=30`)...)...)
			p.Stdout, p.Stderr, p.Dir = program, program, t.TempDir()
			p.Env = append(p.Env, "OMP_NUM_THREADS=1")
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			program.Close()
			text, _ := io.ReadAll(screen) // it ends with an error when nobody holds the other side
			if code := p.exitCode(); code != 0 {
				t.Fatalf("exit code %d\n%s", code, text)
			}
			shown := lines(t, string(text))
			for _, line := range shown {
				if ofAStep.MatchString(line) && utf8.RuneCountInString(line) > tt.columns {
					t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
				}
			}
			last, bar := shown[len(shown)-1], shown[len(shown)-2]
			if !strings.HasPrefix(last, tt.mark) || !strings.HasSuffix(last, " INFO rank0 results: outputs/metrics.jsonl") {
				t.Errorf("the last line is %q", last)
			}
			if !regexp.MustCompile(`^` + regexp.QuoteMeta(tt.mark) + `step 30/30 100% █{5,} [\d.e+]+ steps/s, \d+s$`).MatchString(bar) {
				t.Errorf("the line before the last is %q, want a full bar", bar)
			}
			var figures []string
			for _, name := range regexp.MustCompile(`\w+: `).FindAllString(shown[len(shown)-3], -1) {
				figures = append(figures, strings.TrimSuffix(name, ": "))
			}
			for _, want := range strings.Fields(tt.figures) { // more fit where a slow run's numbers are short
				if !slices.Contains(figures, want) {
					t.Errorf("%q has the figures %s, want %s", shown[len(shown)-3], figures, tt.figures)
				}
			}
			if !strings.Contains(string(text), "\x1b[32mloss: ") {
				t.Error("figures have no colours")
			}
		})
	}
}
